"""Networks and mathematics. Nothing here reads flags, scripts or files.

The configurations carry the help texts of the flags that the scripts make of their fields (`runtime.config.described`).

Shapes: B batch, T frames, N latents of a clip (ceil(T / temporal_stride)), L text tokens, D latent_dim, H hidden_dim,
C width of the text embedding. Masks are bool and True where the entry is real.
"""
