"""DINO: self-distillation of a Vision Transformer without labels."""
