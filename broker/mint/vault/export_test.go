package vault

// Seen stands for a probe that saw a secret of path die.
func (m *Minter) Seen(path string) {
	m.engines.mu.Lock()
	defer m.engines.mu.Unlock()
	m.engines.atLocked(path).probed = m.cfg.Now()
}

// Probed is what the last probe of path found.
func (m *Minter) Probed(path string) error {
	m.engines.mu.Lock()
	defer m.engines.mu.Unlock()
	return m.engines.atLocked(path).fault
}
