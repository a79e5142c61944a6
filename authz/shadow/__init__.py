"""Shadow mode: a candidate policy decides beside the live one, and only where they differ is anything recorded."""
