"""Other libraries' drivers with our blocks inside, measured in processes of their own."""
