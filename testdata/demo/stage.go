package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// stage is what the demo stands on: it gives out folders, and takes everything
// down at the end. It is the TB that the test servers ask for.
type stage struct {
	err      error
	cleanups []func()
}

var _ servers.TB = (*stage)(nil)

// onStage runs f, then the clean-ups, the last first.
func onStage(ctx context.Context, f func(context.Context, *stage) error) error {
	s := &stage{}
	var wg sync.WaitGroup
	// A goroutine of its own, because Fatalf must not return.
	wg.Go(func() {
		if err := f(ctx, s); err != nil {
			s.err = errors.Join(s.err, err)
		}
	})
	wg.Wait()
	for _, c := range slices.Backward(s.cleanups) {
		c()
	}
	return s.err
}

func (s *stage) Helper() {}

func (s *stage) Fatalf(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf(format, args...))
	runtime.Goexit()
}

// Logf is called where a server does not stop, which must not pass for success.
func (s *stage) Logf(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf(format, args...))
}

func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *stage) TempDir() string {
	// A short name: sockets lie in it, and their paths hold about 100 bytes.
	dir, err := os.MkdirTemp("", "vk-demo-")
	if err != nil {
		s.Fatalf("making a folder: %w", err)
	}
	s.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.Logf("removing the demo's folder: %w", err)
		}
	})
	return dir
}

func (s *stage) title(n int, text string) { fmt.Printf("\n%d. %s\n", n, text) }

// say tells what happens; ok tells what was checked.
func (s *stage) say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }
func (s *stage) ok(format string, args ...any)  { fmt.Printf("   [ok] "+format+"\n", args...) }

// show prints what a program said, indented.
func (s *stage) show(text string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Println("     " + line)
		}
	}
}

// eventually polls until f says true or limit is over.
func eventually(ctx context.Context, limit time.Duration, what string, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := f()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting %s until %s: %w", limit, what, ctx.Err())
		}
	}
}
