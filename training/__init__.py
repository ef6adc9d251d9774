"""How every stage is trained: one loop, one checkpoint format, one declaration of each shared flag."""
