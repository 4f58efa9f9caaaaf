"""Pure torch: the ViT and its attention, DINO's head and loss, U-Net, token decoder, segmenters."""
