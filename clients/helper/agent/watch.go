package agent

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// watchEvery is how often the file is looked at. A SIGHUP is for those in a hurry.
const watchEvery = 2 * time.Second

// Watch reloads the agent from a file whenever the file changes, and whenever now
// is sent on, until ctx is over. A file that does not check changes nothing.
func (a *Agent) Watch(ctx context.Context, path string, now <-chan os.Signal) {
	last := fileState(path)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
		case <-tick.C:
			if fileState(path) == last {
				continue
			}
		}
		last = fileState(path)
		if err := a.Reload(Load(path)); err != nil {
			a.cfg.Log.ErrorContext(ctx, "reloading failed", slog.String("file", path), slog.String("error", err.Error()))
			continue
		}
		a.cfg.Log.InfoContext(ctx, "reloaded", slog.String("file", path))
	}
}

// state tells versions of a file apart.
type state struct {
	at   time.Time
	size int64
}

// fileState follows links: a Kubernetes config map is replaced by changing one.
func fileState(path string) state {
	info, err := os.Stat(path)
	if err != nil {
		return state{}
	}
	return state{info.ModTime(), info.Size()}
}
