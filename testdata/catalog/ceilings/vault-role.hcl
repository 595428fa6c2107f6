# The most that the broker may give in Vault, or read there for an agent.

# Teams' secrets in the KV store "secret".
path "secret/data/+/*" {
  capabilities = ["read"]
}

path "secret/metadata/+/*" {
  capabilities = ["list"]
}

# Accounts of the database engine.
path "database/creds/+" {
  capabilities = ["read"]
}
