package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// op is one call, of one caller: it is never run by two goroutines at once.
type op func(ctx context.Context) error

// result is what a closed loop of callers measured.
type result struct {
	callers   int
	perSecond float64
	p50, p99  time.Duration
}

// maxWarm bounds the calls before the clock starts; connections are made in them.
const maxWarm = time.Second

// load has each caller make its next call when the last one is answered, for d.
func load(ctx context.Context, callers int, d time.Duration, caller func(i int) (op, error)) (result, error) {
	ops := make([]op, callers)
	for i := range ops {
		var err error
		if ops[i], err = caller(i); err != nil {
			return result{}, fmt.Errorf("preparing caller %d: %w", i, err)
		}
	}
	if _, err := run(ctx, ops, min(maxWarm, d/4)); err != nil {
		return result{}, err
	}
	began := time.Now()
	took, err := run(ctx, ops, d)
	if err != nil {
		return result{}, err
	}
	elapsed := time.Since(began)
	slices.Sort(took)
	n := len(took)
	return result{callers: callers, perSecond: float64(n) / elapsed.Seconds(), p50: took[n/2], p99: took[n*99/100]}, nil
}

func run(ctx context.Context, ops []op, d time.Duration) ([]time.Duration, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration // guarded by mu
		first error           // guarded by mu
	)
	end := time.Now().Add(d)
	for _, call := range ops {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for now := time.Now(); err == nil && (now.Before(end) || len(mine) == 0); {
				err = call(ctx)
				after := time.Now()
				mine = append(mine, after.Sub(now))
				now = after
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, first
}
