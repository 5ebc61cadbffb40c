"""What the SDK can do, one module per part of the platform; ``AsyncClient`` joins them."""
