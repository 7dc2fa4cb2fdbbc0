"""What a layer's weights can be brought to, and run as: one file a form."""
