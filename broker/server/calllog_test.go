package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestOneCallerDoesNotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	l := newCallLog(slog.New(slog.NewJSONHandler(&out, nil)))
	var end func()
	l.after = func(_ time.Duration, f func()) { end = f }
	flood := func() {
		for range 2000 {
			l.say(t.Context(), slog.LevelInfo, "loud", "call", "OK", slog.String("method", strings.Repeat("m", 200)))
			l.say(t.Context(), slog.LevelWarn, "loud", "call refused", "RATE_LIMITED", slog.String("method", strings.Repeat("m", 200)))
		}
	}
	flood()
	l.say(t.Context(), slog.LevelInfo, "quiet", "call", "OK")
	if !strings.HasSuffix(out.String(), "\"msg\":\"call\"}\n") {
		t.Error("another caller's line is lost")
	}
	end()
	if n := out.Len(); n > 24<<10 {
		t.Errorf("4,000 calls are %d bytes", n)
	}
	for _, want := range []string{`"each":"call","caller":"loud","reason":"OK","count":1970`, `"each":"call refused","caller":"loud","reason":"RATE_LIMITED","count":1970`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the sum lacks %s", want)
		}
	}
	// Another window, another share; and callers beyond count share one.
	out.Reset()
	flood()
	for i := range 3000 {
		l.say(t.Context(), slog.LevelInfo, fmt.Sprint("c", i), "call", "OK")
	}
	end()
	if n := strings.Count(out.String(), "\n"); n > logEach+logCallers+logEach+8 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(out.String(), `"caller":""`) {
		t.Error("those beyond are not counted")
	}
}
