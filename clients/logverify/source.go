package logverify

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// BundleWidth is how many records a full entry bundle and a full hash tile
// hold (C2SP tlog-tiles).
const BundleWidth = 256

// Source reads one log. Implementations are read-only, hold no more than one
// bundle in memory, and are not safe for concurrent use.
type Source interface {
	// Checkpoint returns the newest signed checkpoint as it is published.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Records returns the records [bundle*256, bundle*256+width) of the log
	// of the given size, in order, and exactly so many. With a BadRecordError it returns
	// those in front of the fault, since the cause may be among them.
	Records(ctx context.Context, size, bundle int64, width int) ([][]byte, error)
	// Hashes returns the hashes that the log itself stores for those records
	// and for the complete subtrees that end with one of them, by
	// tlog.StoredHashIndex. It may leave out levels that its format does not
	// store; it never leaves out the leaves.
	Hashes(ctx context.Context, size, bundle int64, width int) (map[int64]tlog.Hash, error)
	// Peaks returns a reader of the stored hashes of the log of the given
	// size, used only to resume: every answer is held against a checkpoint.
	Peaks(ctx context.Context, tree tlog.Tree) tlog.HashReader
	// Extra returns how many records lie past size. They are in no
	// checkpoint. Formats that cannot say return 0.
	Extra(ctx context.Context, size int64) (int64, error)
	// Close gives back what the source holds open.
	Close() error
}

// Open opens a log by what its name is: an http or https URL of a tlog-tiles
// log, a folder of tiles, a SQLite database file, or a folder that holds
// exactly one *.db file.
func Open(ctx context.Context, name string) (Source, error) {
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		u, err := url.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("parsing log URL %q: %w", name, err)
		}
		return NewHTTP(u, nil), nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("opening log %q: %w", name, err)
	}
	if !info.IsDir() {
		return OpenSQLite(ctx, name)
	}
	if _, err := os.Stat(filepath.Join(name, "checkpoint")); err == nil {
		return NewFolder(name)
	}
	dbs, err := filepath.Glob(filepath.Join(name, "*.db"))
	if err != nil {
		return nil, fmt.Errorf("looking for a database in %q: %w", name, err)
	}
	if len(dbs) != 1 {
		return nil, fmt.Errorf("opening log %q: the folder holds no checkpoint file and %d *.db files, want one of either", name, len(dbs))
	}
	return OpenSQLite(ctx, dbs[0])
}
