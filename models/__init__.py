"""Networks and mathematics. Nothing here knows of arguments or scripts, nor of files but for pretrained text encoders.

Shapes: B batch, T frames, N latents of a clip (ceil(T / temporal_stride)), L text tokens, D latent_dim, H hidden_dim,
C width of the text embedding. Masks are bool and True where the entry is real.
"""
