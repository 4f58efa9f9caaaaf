"""A Vision Transformer that learns without labels: by DINO, and by masked modelling."""
