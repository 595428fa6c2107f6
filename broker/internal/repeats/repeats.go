// Package repeats remembers what idempotency keys were used for, so that a call which is
// sent again is answered as it was the first time.
package repeats

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// The calls that end or switch something are idempotent by nature, so their keys
// are optional. What a key adds is the first answer again, which a second call
// cannot know (the grants that a close ended), and that a repeat which comes
// late does not undo what was done since (a freeze sent again after the thaw).

// ErrUnreadable means that what a key was used for cannot be read, or not be kept: the store is
// damaged there. A call that is idempotent by nature then does without its key.
var ErrUnreadable = fmt.Errorf("%w: what an idempotency key was used for", store.ErrDamaged)

// unreadable makes damage that a key has met an ErrUnreadable.
func unreadable(err error) error {
	if errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

// Key is one use of an idempotency key, by its caller.
type Key struct {
	Who grant.Someone
	// Key may be empty where it is optional.
	Key string
	// Content is grant.Content of what is asked for.
	Content string
}

// Recall fills answer in with what key was answered before, if it was. An empty
// key was never used.
func (k Key) Recall(r store.Reader, answer any) (bool, error) {
	if k.Key == "" {
		return false, nil
	}
	result, err := k.Used(r)
	if err != nil || result == "" {
		return false, err
	}
	_, raw, _ := strings.Cut(result, " ")
	if err := json.Unmarshal([]byte(raw), answer); err != nil {
		return false, fmt.Errorf("reading what an idempotency key was answered: %w", err)
	}
	return true, nil
}

// Keep remembers answer under key. about is the task or grant that was ended;
// empty for none.
func (k Key) Keep(t *ledger.Tx, about string, answer any) error {
	if k.Key == "" {
		return nil
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	return k.Remember(t, about+" "+string(raw))
}

// Used returns what the caller's key made before, or "".
func (k Key) Used(r store.Reader) (string, error) {
	prev, err := r.Idempotency(k.Who.ID(), k.Key)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", unreadable(err)
	}
	if prev.Content != k.Content {
		return "", grant.ErrConflict
	}
	return prev.Result, nil
}

// Made keeps the issuance that the key made.
func (k Key) Made(t *ledger.Tx, iss store.Issuance) error {
	return k.Remember(t, iss.GrantID+" "+iss.ID)
}

// Remember keeps what the key made: an id, and after a space the answer.
func (k Key) Remember(t *ledger.Tx, result string) error {
	return unreadable(t.Remember(store.Idempotency{Agent: k.Who.ID(), Key: k.Key, Content: k.Content, Result: result, At: t.Now()}))
}
