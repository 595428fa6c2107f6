package iam

// CoversPlain is Covers without the search for names that people know in a witness, for tests that ask a lot.
func CoversPlain(a, b []Policy) (Coverage, error) {
	return covers(a, b, limits{steps: maxSteps, plain: true})
}

// CoversWithin is Covers with fewer steps.
func CoversWithin(a, b []Policy, steps int) (Coverage, error) {
	return covers(a, b, limits{steps: steps})
}

// KnownWays is the table of known ways to wider rights.
func KnownWays() []Way { return knownWays() }

// GlobalEndpoints is the table of services with one endpoint.
func GlobalEndpoints() map[string]string { return globalEndpoints }
