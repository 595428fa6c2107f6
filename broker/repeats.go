package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/broker/store"
)

// The calls that end or switch something are idempotent by nature, so their keys
// are optional. What a key adds is the first answer again, which a second call
// cannot know (the grants that a close ended), and that a repeat which comes
// late does not undo what was done since (a freeze sent again after the thaw).

// recall fills answer in with what key was answered before, if it was. An empty
// key was never used.
func (p *passage) recall(key, content string, answer any) (bool, error) {
	if key == "" {
		return false, nil
	}
	result, err := p.repeated(key, content)
	if err != nil || result == "" {
		return false, err
	}
	_, raw, _ := strings.Cut(result, " ")
	if err := json.Unmarshal([]byte(raw), answer); err != nil {
		return false, fmt.Errorf("reading what an idempotency key was answered: %w", err)
	}
	return true, nil
}

// keep remembers answer under key. about is the task or grant that was ended;
// empty for none.
func (p *passage) keep(key, content, about string, answer any) error {
	if key == "" {
		return nil
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	return p.remember(key, content, about+" "+string(raw))
}

// keepIdle is keep after a call that changed nothing. It takes one of an agent's
// tokens: such calls are free of records, and must not be a way to fill the
// store with keys.
func (b *Broker) keepIdle(p *passage, e ending, key, content, about string, answer any) error {
	if key == "" {
		return nil
	}
	if e.operator == "" {
		if err := b.cfg.Guard.Throttle(p.tx, p.who.Agent); err != nil {
			return err
		}
	}
	return p.keep(key, content, about, answer)
}

// content is what the ask's key stands for.
func (a Ask) content() string {
	return contentOf("grant", a.TaskID, a.Scope, a.ScopeVersion, a.Params, a.TTL, a.Justification, a.Mint)
}

// answerOr is refusal, but for a repeat: it is answered as the first ask was, though
// the task was closed or the scope has changed since.
func (b *Broker) answerOr(ctx context.Context, who Caller, ask Ask, refusal error) (Issued, error) {
	p := passage{who: who, refusal: refusal}
	if err := b.cfg.Store.View(ctx, func(r store.Reader) error {
		first, err := repeated(r, who, ask.Key, ask.content())
		if err != nil || first == "" {
			return err
		}
		p.refusal = nil
		return p.answerRepeat(r, first, ask.Mint)
	}); err != nil {
		return Issued{}, err
	}
	return Issued{Grant: p.grant}, p.refusal
}

func (p *passage) repeated(key, content string) (string, error) {
	return repeated(p.tx.Tx, p.who, key, content)
}

// repeated returns what the caller's key made before, or "".
func repeated(r store.Reader, who Caller, key, content string) (string, error) {
	prev, err := r.Idempotency(who.id(), key)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if prev.Content != content {
		return "", ErrConflict
	}
	return prev.Result, nil
}

func (p *passage) remember(key, content, result string) error {
	return p.tx.PutIdempotency(store.Idempotency{Agent: p.who.id(), Key: key, Content: content, Result: result, At: p.tx.Now()})
}
