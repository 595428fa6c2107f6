package mint

import (
	"errors"
	"testing"
	"time"
)

func TestSpentSetIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	v := &Verifier{spent: map[string]time.Time{}, limit: 2}
	for _, id := range []string{"a", "b"} {
		if err := v.spend(id, now, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.spend("c", now, now.Add(time.Minute)); !errors.Is(err, ErrPermit) {
		t.Errorf("full: %v", err)
	}
	if err := v.spend("a", now, now.Add(time.Minute)); !errors.Is(err, ErrPermit) {
		t.Errorf("an old one was forgotten: %v", err)
	}
	now = now.Add(time.Minute)
	if err := v.spend("c", now, now.Add(time.Minute)); err != nil {
		t.Errorf("expired ones still count: %v", err)
	}
	if len(v.spent) != 1 {
		t.Errorf("%d are remembered", len(v.spent))
	}
}
