"""MongoDB as the rest of storage_api sees it: `driver` (the connection), `schema` (collections), `migrations`."""
