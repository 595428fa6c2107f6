package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestOneDevAFolder keeps a second dev mode from a folder until the first is over.
func TestOneDevAFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := hold(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := hold(short, dir); err == nil || !strings.Contains(err.Error(), "another valetkeyd dev runs in") {
		t.Errorf("two in one folder: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- first.Close() }()
	second, err := hold(t.Context(), dir)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}
