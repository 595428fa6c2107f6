package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

// ErrKey means that the ledger's key is missing, unreadable by rule, or not
// the one that signed the log.
var ErrKey = errors.New("ledger key")

// Key signs checkpoints. It lives in a file outside the database.
type Key struct {
	signer   note.Signer
	verifier note.Verifier
	vkey     string
	// checkpoint is the file that GenerateKey wrote beside the key.
	checkpoint string
}

// GenerateKey writes a new Ed25519 note key for origin to path, mode 0600, and
// never overwrites one. The verifier key goes to path + ".pub", and the signed
// checkpoint of an empty log to path + ".checkpoint": without that file nobody
// could tell a log that is new from one that was lost.
func GenerateKey(path, origin string) error {
	for _, file := range []string{path, path + ".pub", path + ".checkpoint"} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%w: %s is there already, and is never overwritten; it may belong to a log", ErrKey, file))
		}
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return fmt.Errorf("%w: generating: %w", ErrKey, err)
	}
	if err := writeNew(path, skey+"\n", 0o600); err != nil {
		return fmt.Errorf("%w: writing: %w", ErrKey, err)
	}
	if err := writeNew(path+".pub", vkey+"\n", 0o644); err != nil {
		return fmt.Errorf("%w: writing: %w", ErrKey, err)
	}
	k, err := LoadKey(path)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		return fmt.Errorf("%w: hashing nothing: %w", ErrKey, err)
	}
	text, err := k.Seal(tlog.Tree{Hash: root})
	if err != nil {
		return fmt.Errorf("%w: signing: %w", ErrKey, err)
	}
	if err := writeNew(k.checkpoint, string(text), 0o600); err != nil {
		return fmt.Errorf("%w: writing: %w", ErrKey, err)
	}
	return nil
}

func writeNew(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// LoadKey reads a key that GenerateKey wrote. A file that others may read is
// refused.
func LoadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; make one with \"valetkeyd keygen\"", ErrKey, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %v; others may not read it: chmod 600", ErrKey, path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	// note's own errors are dropped: they could repeat the key.
	skey := strings.TrimSpace(string(raw))
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not a note signing key", ErrKey, path)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k := &Key{signer: signer, vkey: strings.TrimSpace(string(pub)), checkpoint: path + ".checkpoint"}
	if k.verifier, err = note.NewVerifier(k.vkey); err != nil {
		return nil, fmt.Errorf("%w: %s.pub is not a note verifier key", ErrKey, path)
	}
	// The two files must be one key: a checkpoint nobody can verify is worse than none.
	text, err := k.Seal(tlog.Tree{N: 0})
	if err != nil {
		return nil, err
	}
	if _, err := note.Open(text, note.VerifierList(k.verifier)); err != nil {
		return nil, fmt.Errorf("%w: %s and %s.pub do not belong together", ErrKey, path, path)
	}
	return k, nil
}

// Origin is the log's name.
func (k *Key) Origin() string { return k.signer.Name() }

// VerifierKey is what users pin: "name+hash+key" as note spells it.
func (k *Key) VerifierKey() string { return k.vkey }

// Derive is a secret of 32 bytes that is label's alone, the same whenever this key is loaded. It
// rests on Ed25519 signing one text one way: label, without a line end, is no checkpoint's text,
// and the signature over it goes nowhere else.
func (k *Key) Derive(label string) ([]byte, error) {
	sig, err := k.signer.Sign([]byte("valetkey derive v1: " + strings.ReplaceAll(label, "\n", " ")))
	if err != nil {
		return nil, fmt.Errorf("%w: deriving: %w", ErrKey, err)
	}
	sum := sha256.Sum256(sig)
	return sum[:], nil
}

// Seal signs a C2SP tlog-checkpoint. It is a store.SealFunc.
func (k *Key) Seal(t tlog.Tree) ([]byte, error) {
	text := k.Origin() + "\n" + strconv.FormatInt(t.N, 10) + "\n" + t.Hash.String() + "\n"
	return note.Sign(&note.Note{Text: text}, k.signer)
}

// Check holds the log in st against the key: the newest checkpoint must bear
// its signature, and match the stored tree. It is run before serving.
func (k *Key) Check(ctx context.Context, st store.Store) error {
	return st.View(ctx, func(rd store.Reader) error {
		h, err := rd.Head()
		if err != nil {
			return err
		}
		if h.Size == 0 {
			return nil
		}
		n, err := note.Open(h.Checkpoint, note.VerifierList(k.verifier))
		if err != nil {
			return fmt.Errorf("%w: the log's checkpoint is not signed by %s: %w", ErrKey, k.Origin(), err)
		}
		root, err := tlog.TreeHash(h.Size, rd)
		if err != nil {
			return err
		}
		if want := k.Origin() + "\n" + strconv.FormatInt(h.Size, 10) + "\n" + root.String() + "\n"; n.Text != want {
			return fmt.Errorf("%w: the stored tree is not the one that was signed; run \"valetkey ledger verify\"", ErrKey)
		}
		if _, err := rd.Record(h.Size); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: there are records past the checkpoint", ErrKey)
		}
		return nil
	})
}
