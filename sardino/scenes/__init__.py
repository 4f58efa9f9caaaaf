"""Where tiles come from: the synthetic world, and folders of real scenes."""
