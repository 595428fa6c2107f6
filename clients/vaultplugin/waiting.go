package vaultplugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// waitingPrefix is where storage has the requests that wait. An agent's have a folder
// of their own, so that no caller reaches another's.
const waitingPrefix = "requests/"

// waiting is a request that people have to approve, from the answer that names it to
// the handing over of its credential. It is also the log entry of that: Claimed is
// written before anything is minted. It holds no secret.
type waiting struct {
	Agent string `json:"agent"`
	Grant string `json:"grant"`
	Task  string `json:"task"`
	// OwnTask says that the task was opened for this request alone, and ends with it.
	OwnTask bool `json:"own_task"`
	// Ask is a digest of all that was asked for. The same again is this request.
	Ask string `json:"ask"`
	// Log is the entry of Vault's log that would end its own task, should a crash have
	// left it; empty for none.
	Log string `json:"log,omitempty"`
	// TTL and Lease are in seconds, as they were asked for; 0 for not.
	TTL   int64 `json:"ttl,omitempty"`
	Lease int64 `json:"lease,omitempty"`
	// DecideBy is when it lapses, by the broker's clock.
	DecideBy time.Time `json:"decide_by"`
	// Claimed is when somebody began to hand the credential over; zero for nobody.
	Claimed time.Time `json:"claimed,omitzero"`
	// Tried says that a handing over was refused, which may have begun with a minting
	// that was cut off. Where the grant is active after all, nobody has its credential.
	Tried bool `json:"tried,omitempty"`
	// Dropped says that the caller was gone when the credential came, so that nobody
	// has that. The approval stands: the next caller is given another.
	Dropped bool `json:"dropped,omitempty"`
}

func agentFolder(agent string) string {
	sum := sha256.Sum256([]byte(agent))
	return waitingPrefix + hex.EncodeToString(sum[:]) + "/"
}

func (w *waiting) key() string { return agentFolder(w.Agent) + w.Grant }

func (w *waiting) store(ctx context.Context, s logical.Storage) error {
	entry, err := logical.StorageEntryJSON(w.key(), w)
	if err != nil {
		return fmt.Errorf("encoding a request that waits: %w", err)
	}
	return s.Put(ctx, entry) // ErrReadOnly passes as it is
}

func (w *waiting) remove(ctx context.Context, s logical.Storage) error {
	if err := s.Delete(ctx, w.key()); err != nil {
		return fmt.Errorf("forgetting a request that waited: %w", err)
	}
	return nil
}

// loadWaiting is nil where there is none.
func loadWaiting(ctx context.Context, s logical.Storage, key string) (*waiting, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading a request that waits: %w", err)
	}
	if entry == nil {
		return nil, nil //nolint:nilnil // Vault's own way to say that there is none
	}
	var w waiting
	if err := json.Unmarshal(entry.Value, &w); err != nil {
		return nil, fmt.Errorf("reading a request that waits: %w", err)
	}
	return &w, nil
}

// digest is of all that is asked for, so that only the same is the same.
func (a *ask) digest() (string, error) {
	raw, err := json.Marshal([]any{a.scope, a.params, a.ttl, a.lease, a.task, a.purpose, a.environment, a.onBehalf, a.why})
	if err != nil {
		return "", fmt.Errorf("encoding what is asked for: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// wait writes a pending request down, so that it can be read later and is looked
// after until it is over.
func (b *backend) wait(ctx context.Context, s logical.Storage, a ask, m minted) error {
	digest, err := a.digest()
	if err != nil {
		return err
	}
	w := &waiting{
		Agent: m.agent, Grant: m.grant.ID(), Task: m.task, OwnTask: m.own, Ask: digest, Log: m.log,
		TTL: int64(a.ttl.Seconds()), Lease: int64(a.lease.Seconds()), DecideBy: m.grant.Info().GetDecideBy().AsTime(),
	}
	// In one task the broker takes the same request for the one that waits already.
	switch known, err := loadWaiting(ctx, s, w.key()); {
	case err != nil:
		return err
	case known != nil:
		return nil
	}
	err = w.store(ctx, s)
	if err != nil && !m.own {
		// Nobody has been told of it, so nobody is to be asked. Its own task's end is the log's.
		b.giveBack(ctx, m.grant)
	}
	return err
}

// giveBack ends a grant that waits for people and that nobody is told of. Where it
// cannot, the grant lapses.
func (b *backend) giveBack(ctx context.Context, g *valetkey.Grant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if err := gone(g.Release(ctx)); err != nil {
		b.Logger().Warn("giving back a request that nobody was told of; it lapses", "grant", g.ID(), "error", err)
	}
}

// speak has calls with the context speak for the request's agent.
func (w *waiting) speak(ctx context.Context) (context.Context, error) {
	agent, err := spiffeid.FromString(w.Agent)
	if err != nil {
		return ctx, fmt.Errorf("reading the agent of a request that waits: %w", err)
	}
	return valetkey.SpeakFor(ctx, agent), nil
}

// end ends the request at the broker, with all that may have been minted of it.
func (w *waiting) end(ctx context.Context, client *valetkey.Client) error {
	if w.OwnTask {
		return gone(client.Task(w.Task).Close(ctx))
	}
	return release(ctx, client, w.Grant)
}

// settle ends what may be open of a request that is over, and forgets it.
func (w *waiting) settle(ctx context.Context, s logical.Storage, client *valetkey.Client) error {
	if w.OwnTask || !w.Claimed.IsZero() || w.Tried || w.Dropped {
		if err := w.end(ctx, client); err != nil {
			return err
		}
	}
	return w.remove(ctx, s)
}

// mintable says whether a grant in this state may be handed over.
func (w *waiting) mintable(state valetkeyv1.GrantState) bool {
	return state == valetkeyv1.GrantState_GRANT_STATE_CLEARED || w.Dropped && state == valetkeyv1.GrantState_GRANT_STATE_ACTIVE
}

// orphaned says whether a grant in this state has a credential that nobody has, of a
// minting that was believed to have failed.
func (w *waiting) orphaned(state valetkeyv1.GrantState) bool {
	return w.Claimed.IsZero() && w.Tried && !w.Dropped && state == valetkeyv1.GrantState_GRANT_STATE_ACTIVE
}

// over says whether nothing can come of a grant in this state any more.
func over(state valetkeyv1.GrantState) bool {
	switch state {
	case valetkeyv1.GrantState_GRANT_STATE_PENDING, valetkeyv1.GrantState_GRANT_STATE_CLEARED, valetkeyv1.GrantState_GRANT_STATE_ACTIVE:
		return false
	default:
		return true
	}
}

// errClaimed is told while what a crash left of a handing over is not yet ended.
var errClaimed = errors.New("its credential was being handed over when the plugin stopped, or lost the broker; nobody has it, and the request is ended within two minutes: then ask again")
