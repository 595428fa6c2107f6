package logverify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	// maxBundle is 256 records of the 65,535 bytes their length prefix allows.
	maxBundle      = BundleWidth * (2 + 65535)
	maxTile        = BundleWidth * tlog.HashSize
	maxCheckpoint  = 1 << 20
	requestTimeout = 30 * time.Second
)

// fetch reads one resource of a tlog-tiles log by its relative path, and at
// most limit bytes of it.
type fetch func(ctx context.Context, name string, limit int64) ([]byte, error)

// tiles is a C2SP tlog-tiles log behind a fetch function.
type tiles struct {
	fetch fetch
	close func() error
	// last holds the newest tile read of each level, since neighbours share it.
	last map[int]cachedTile
}

type cachedTile struct {
	tile tlog.Tile
	data []byte
}

// NewHTTP returns the source of the tlog-tiles log at base. A nil client is
// one with a time limit of 30 s a request.
func NewHTTP(base *url.URL, client *http.Client) Source {
	if client == nil {
		client = &http.Client{Timeout: requestTimeout}
	}
	get := func(ctx context.Context, name string, limit int64) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(name).String(), nil)
		if err != nil {
			return nil, fmt.Errorf("asking for %s: %w", name, err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("fetching %s: %w", name, err)
		}
		data, err := readLimited(resp.Body, limit)
		err = errors.Join(err, resp.Body.Close())
		if resp.StatusCode == http.StatusNotFound {
			return nil, fmt.Errorf("fetching %s: %w", name, fs.ErrNotExist)
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("fetching %s: the server answers %s", name, resp.Status)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		return data, nil
	}
	return &tiles{fetch: get, close: func() error { client.CloseIdleConnections(); return nil }, last: map[int]cachedTile{}}
}

// NewFolder returns the source of a tlog-tiles log stored as files below dir.
func NewFolder(dir string) (Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening log folder %q: %w", dir, err)
	}
	read := func(_ context.Context, name string, limit int64) ([]byte, error) {
		f, err := root.Open(name)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
		data, err := readLimited(f, limit)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		return data, nil
	}
	return &tiles{fetch: read, close: root.Close, last: map[int]cachedTile{}}, nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than the %d bytes the format allows", limit)
	}
	return data, nil
}

func (s *tiles) Close() error { return s.close() }

func (s *tiles) Checkpoint(ctx context.Context) ([]byte, error) {
	return s.fetch(ctx, "checkpoint", maxCheckpoint)
}

func (s *tiles) Extra(context.Context, int64) (int64, error) { return 0, nil }

func (s *tiles) Records(ctx context.Context, _, bundle int64, width int) ([][]byte, error) {
	name := tilePath(tlog.Tile{H: tileHeight, L: -1, N: bundle, W: width})
	first := bundle * BundleWidth
	data, err := s.fetch(ctx, name, maxBundle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &BadRecordError{First: first, Last: first + int64(width) - 1, Problem: "the log does not serve " + name}
	}
	if err != nil {
		return nil, err
	}
	records := make([][]byte, 0, width)
	for len(data) > 0 && len(records) < width {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return records, &BadRecordError{First: first + int64(len(records)), Last: first + int64(len(records)), Problem: "the entry bundle ends in the middle of the record"}
		}
		n := 2 + int(binary.BigEndian.Uint16(data))
		records = append(records, data[2:n])
		data = data[n:]
	}
	if len(records) != width || len(data) != 0 {
		next := first + int64(len(records))
		return records, &BadRecordError{First: next, Last: next, Problem: fmt.Sprintf("the entry bundle %s does not hold exactly %d records", name, width)}
	}
	return records, nil
}

// Hashes reads the leaf tile, and after a full bundle the one hash that stands
// for it in each tile above.
func (s *tiles) Hashes(ctx context.Context, size, bundle int64, width int) (map[int64]tlog.Hash, error) {
	out := make(map[int64]tlog.Hash, width)
	leaf := tlog.Tile{H: tileHeight, L: 0, N: bundle, W: width}
	data, err := s.tile(ctx, leaf)
	if err != nil {
		return nil, err
	}
	for i := range width {
		out[tlog.StoredHashIndex(0, bundle*BundleWidth+int64(i))] = tlog.Hash(data[i*tlog.HashSize:])
	}
	// The subtree of level*8 that ends with this bundle exists where all of
	// its bundles are full.
	end := bundle*BundleWidth + int64(width)
	for level := 1; level < 8; level++ {
		span := int64(1) << (tileHeight * level)
		if end%span != 0 {
			break
		}
		n := end/span - 1
		total := size / span
		t := tlog.Tile{H: tileHeight, L: level, N: n / BundleWidth, W: int(min(BundleWidth, total-n/BundleWidth*BundleWidth))}
		data, err := s.tile(ctx, t)
		if err != nil {
			return nil, err
		}
		at := int(n%BundleWidth) * tlog.HashSize
		out[tlog.StoredHashIndex(level*tileHeight, n)] = tlog.Hash(data[at:])
	}
	return out, nil
}

func (s *tiles) tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	if c, ok := s.last[t.L]; ok && c.tile == t {
		return c.data, nil
	}
	data, err := s.fetch(ctx, tilePath(t), maxTile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it does not serve %s", ErrVerification, tilePath(t))
	}
	if err != nil {
		return nil, err
	}
	if len(data) != t.W*tlog.HashSize {
		return nil, fmt.Errorf("%w: tile %s has %d bytes, want %d", ErrVerification, tilePath(t), len(data), t.W*tlog.HashSize)
	}
	s.last[t.L] = cachedTile{t, data}
	return data, nil
}

func (s *tiles) Peaks(ctx context.Context, tree tlog.Tree) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		r := &tileReader{ctx: ctx, s: s}
		hashes, err := tlog.TileHashReader(tree, r).ReadHashes(indexes)
		if err == nil || r.err != nil {
			return hashes, r.err
		}
		return nil, fmt.Errorf("%w: its hash tiles do not lead to the signed root: %w", ErrVerification, err)
	})
}

// tileReader lends the source to x/mod for the length of one call, which is
// why it may carry the call's context. It keeps the error of a read apart from
// what x/mod finds wrong with the hashes.
type tileReader struct {
	ctx context.Context
	s   *tiles
	err error
}

func (r *tileReader) Height() int { return tileHeight }

func (r *tileReader) ReadTiles(ts []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(ts))
	for i, t := range ts {
		data, err := r.s.tile(r.ctx, t)
		if err != nil {
			r.err = err
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// tilePath is the C2SP spelling: x/mod's own has the height in it and says
// data for entries.
func tilePath(t tlog.Tile) string {
	rest := strings.TrimPrefix(t.Path(), "tile/8/")
	if data, ok := strings.CutPrefix(rest, "data/"); ok {
		rest = "entries/" + data
	}
	return path.Join("tile", rest)
}
