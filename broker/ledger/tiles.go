package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

const tileHeight = 8

// errTile means that a path names no tile of the published tree.
var errTile = errors.New("no such tile")

// Handler serves the log read-only as C2SP tlog-tiles: /checkpoint,
// /tile/L/N[.p/W] and /tile/entries/N[.p/W]. Records hold no secrets, but they
// say who asked for what: put it where only auditors reach it.
func (l *Ledger) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", func(w http.ResponseWriter, r *http.Request) {
		h, err := l.Head(r.Context())
		if err == nil && h.Size == 0 {
			err = errTile
		}
		w.Header().Set("Cache-Control", "no-cache")
		answer(w, r, log, "text/plain; charset=utf-8", h.Checkpoint, err)
	})
	mux.HandleFunc("GET /tile/{path...}", func(w http.ResponseWriter, r *http.Request) {
		b, err := l.tile(r, r.PathValue("path"))
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		answer(w, r, log, "application/octet-stream", b, err)
	})
	return mux
}

func answer(w http.ResponseWriter, r *http.Request, log *slog.Logger, mime string, body []byte, err error) {
	switch {
	case errors.Is(err, errTile):
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		if r.Context().Err() == nil {
			log.ErrorContext(r.Context(), "the ledger cannot be read", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "the ledger cannot be read", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", mime)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(body) //nolint:gosec // neither text/plain nor octet-stream is HTML; a client that went away is told nothing
	}
}

func (l *Ledger) tile(r *http.Request, path string) ([]byte, error) {
	// C2SP leaves out the height that x/mod's paths carry, and says "entries"
	// for its "data".
	path, entries := strings.CutPrefix(path, "entries/")
	if entries {
		path = "data/" + path
	}
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", tileHeight, path))
	if err != nil || (t.L < 0) != entries {
		return nil, errTile
	}
	var out []byte
	err = l.st.View(r.Context(), func(rd store.Reader) error {
		h, err := rd.Head()
		if err != nil {
			return err
		}
		level := max(t.L, 0)
		if have := h.Size >> (tileHeight * level); t.N > have>>tileHeight || t.N<<tileHeight+int64(t.W) > have {
			return errTile
		}
		if !entries {
			out, err = tlog.ReadTileData(t, rd)
			return err
		}
		leaves, err := rd.Records(t.N<<tileHeight, t.W)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			out = binary.BigEndian.AppendUint16(out, uint16(len(leaf))) //nolint:gosec // leaf() keeps it under 1<<16
			out = append(out, leaf...)
		}
		return nil
	})
	return out, err
}
