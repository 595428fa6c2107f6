package server

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// logWindow is how long a caller's lines are counted together.
	logWindow = time.Minute
	// logEach is how many lines of a window one caller has; the rest is one line at its
	// end for each of what there was to say.
	logEach = 60
	// logCallers is how many callers are told apart; the rest, and all who are not known,
	// share their lines.
	logCallers = 1024
)

// callLog says what became of calls, and not of each of a flood: a line has about 250
// bytes, and with a cause that the caller has a hand in at most maxLogged more, so that one
// caller makes no more than 80 KiB a minute. It is safe for concurrent use.
type callLog struct {
	log   *slog.Logger
	after func(time.Duration, func()) // time.AfterFunc

	mu    sync.Mutex
	lines map[string]int // by caller; guarded by mu
	sums  map[summed]int // guarded by mu
	due   bool           // the window's end is waited for; guarded by mu
}

// summed is what one line counts that stands for many.
type summed struct {
	caller, message, reason string
	level                   slog.Level
}

func newCallLog(log *slog.Logger) *callLog {
	return &callLog{
		log: log, lines: map[string]int{}, sums: map[summed]int{},
		after: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	}
}

// say logs a line of a caller's, or counts it. message and reason are of a small set.
func (l *callLog) say(ctx context.Context, level slog.Level, caller, message, reason string, attrs ...slog.Attr) {
	if l.room(summed{caller, message, reason, level}) {
		l.log.LogAttrs(ctx, level, message, attrs...) //nolint:sloglint // a constant of each caller's
	}
}

func (l *callLog) room(s summed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.due {
		l.due = true
		l.after(logWindow, l.flush)
	}
	if _, known := l.lines[s.caller]; !known && len(l.lines) >= logCallers {
		s.caller = ""
	}
	if l.lines[s.caller]++; l.lines[s.caller] <= logEach {
		return true
	}
	l.sums[s]++
	return false
}

// flush ends the window.
func (l *callLog) flush() {
	l.mu.Lock()
	sums := l.sums
	l.lines, l.sums, l.due = map[string]int{}, map[summed]int{}, false
	l.mu.Unlock()
	for s, n := range sums {
		l.log.LogAttrs(context.Background(), s.level, "calls that were not logged one by one",
			slog.String("each", s.message), slog.String("caller", s.caller), slog.String("reason", s.reason), slog.Int("count", n))
	}
}
