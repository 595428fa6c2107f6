package helper

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// ScopeSpec is one scope of a task.
type ScopeSpec struct {
	// Name is what addresses and profiles are called by; the scope's where empty.
	Name string
	// Scope and Params are what is asked for.
	Scope  string
	Params valetkey.Params
	// TTL is the life wished for; zero is the scope's default.
	TTL time.Duration
	// Why is for people. Nothing decides on it.
	Why string
	// Wait waits for people where they have to approve.
	Wait bool
}

func (s ScopeSpec) name() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Scope
}

func (s ScopeSpec) options() (out []valetkey.RequestOption) {
	if s.TTL != 0 {
		out = append(out, valetkey.WithTTL(s.TTL))
	}
	if s.Why != "" {
		out = append(out, valetkey.WithJustification(s.Why))
	}
	if s.Wait {
		out = append(out, valetkey.WithWait())
	}
	return out
}

// source is what keeps one credential fresh: a valetkey.Source. Credential answers
// from memory wherever it can, and is safe for concurrent use.
type source interface {
	Credential(ctx context.Context) (valetkey.Credential, error)
	Status() valetkey.Status
}
