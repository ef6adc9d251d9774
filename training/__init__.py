"""How every stage is trained: one training loop, one checkpoint format, one declaration of each shared flag."""
