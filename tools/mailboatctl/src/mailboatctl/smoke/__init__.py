"""The proof that mail works on an installed platform: mail sent and read with nothing but standard clients."""
