package grant

// The events here change no row.

// Started says that the broker serves, under a catalog. keys are the fingerprints of
// those of the people who may approve; nil for nobody's.
func Started(catalog string, keys map[string][]string) Change {
	return Change{record: Record{Type: BrokerStarted, Catalog: catalog, ApproverKeys: keys}}
}

// Reloaded says that another catalog serves from here on.
func Reloaded(op Operator, catalog string) Change {
	return Change{record: Record{Type: CatalogReloaded, Correlation: op.correlation, Operator: op.ID(), Catalog: catalog}}
}

// Damaged says how the store was found damaged.
func Damaged(cause string) Change { return Change{record: Record{Type: StoreDamaged, Cause: cause}} }

// Repaired says that a person has looked at a store that was damaged.
func Repaired(cause string) Change { return Change{record: Record{Type: DamageCleared, Cause: cause}} }

// Lost says that the log goes on without records that were signed.
func Lost(cause string) Change { return Change{record: Record{Type: LossAccepted, Cause: cause}} }

// Refused is a call that was refused at the edge, of agent by delegate.
func Refused(correlation, agent, delegate, method, reason string) Change {
	return Change{record: Record{
		Type: RefusalRecorded, Correlation: correlation, Agent: agent, Delegate: delegate, Reason: reason, Cause: method, Decision: "deny",
	}}
}

// RefusedMore is how many more there were, for one reason: of the callers of a guard's
// key, of those that claim a trust domain, or of all others where both are empty.
func RefusedMore(key, domain, reason string, n int64) Change {
	return Change{record: Record{Type: RefusalSummary, Reason: reason, Count: n, Decision: "deny", CallerKey: key, ClaimedDomain: domain}}
}
