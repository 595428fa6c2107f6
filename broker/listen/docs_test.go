package listen

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTheTableIsAsDocumented holds docs/limits.md against Table.
func TestTheTableIsAsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	g, h := Table().MTLS, Table().Ledger
	if g != Table().JWT || h != Table().Metrics {
		t.Error("the page has one column for two that differ")
	}
	short := func(d time.Duration) string {
		return strings.TrimSuffix(d.String(), "0s")
	}
	for _, row := range []string{
		fmt.Sprintf("| %d (`limits.connections`) | %d |", g.All, h.All),
		fmt.Sprintf("| %d, %d (`limits.strangers_per_peer`) | %d, %d |", g.Strangers, g.StrangersEach, h.Strangers, h.StrangersEach),
		fmt.Sprintf("| %d (`limits.connections_per_caller`) | |", g.Each),
		fmt.Sprintf("| %v | %v |\n| first", g.Handshake, h.Header),
		fmt.Sprintf("| %v | %v |\n| a connection", g.FirstMessage, h.Read),
		fmt.Sprintf("| %s | %v |\n| headers", short(g.Idle), h.Idle),
		fmt.Sprintf("| %d KiB | %d KiB |", g.HeaderBytes>>10, h.HeaderBytes>>10),
		fmt.Sprintf("| one message | %d KiB | |", g.MessageBytes>>10),
		fmt.Sprintf("| calls open on one connection | %d | |", g.Streams),
		fmt.Sprintf("| %d, %d | |\n| health", g.Unheard, g.UnheardEach),
		fmt.Sprintf("peer | %d, %d | |", g.Health, g.HealthEach),
	} {
		if !strings.Contains(string(raw), row) {
			t.Errorf("docs/limits.md lacks %q", row)
		}
	}
}
