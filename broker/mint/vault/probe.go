package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const (
	// probeLimit bounds one probe with all that it waits for.
	probeLimit = 60 * time.Second
	// tryLimit bounds one run of the command.
	tryLimit = 10 * time.Second
	tryAgain = 250 * time.Millisecond
)

// probe reads a secret of path, sees it work, revokes its lease, and sees it refused. nil means
// that this is what was seen. What it made is taken back whatever came of it.
func (m *Minter) probe(ctx context.Context, path string, command []string) (fault error) {
	h := mint.Handle{Provider: mint.ProviderVault, VaultPolicy: "vk-probe-" + strings.ToLower(rand.Text()), VaultRead: path}
	defer func() {
		ctx, cancel := m.up.Cleanup(ctx)
		defer cancel()
		if _, err := m.end(ctx, h); err != nil && fault == nil {
			fault = fmt.Errorf("taking back what the probe made: %w", err)
		}
	}()
	var data map[string]any
	if err := m.up.Do(ctx, func(ctx context.Context) (err error) {
		data, err = m.probeSecret(ctx, path, &h)
		return err
	}); err != nil {
		return err
	}
	before := func(code int) bool { return code == 0 }
	if code, err := m.settles(ctx, command, path, data, before); err != nil || !before(code) {
		return errors.Join(err, fmt.Errorf("the probe never saw a secret of %q work: it exits %d", path, code))
	}
	if err := m.up.Do(ctx, func(ctx context.Context) error {
		_, err := m.asBroker(ctx, revokeLease(h.VaultLeaseID))
		return err
	}); err != nil {
		return fmt.Errorf("revoking the probe's lease: %w", err)
	}
	after := func(code int) bool { return code == 1 }
	switch code, err := m.settles(ctx, command, path, data, after); {
	case err != nil:
		return err
	case code == 0:
		return fmt.Errorf("its mount is declared revocable, but a secret of %q worked for %v after its lease was revoked", path, m.cfg.Settle)
	case !after(code):
		return fmt.Errorf("the probe of %q does not tell whether a revoked secret is refused: it exits %d", path, code)
	}
	return nil
}

// probeSecret reads a secret the way a minting does, with a token that can do nothing else.
func (m *Minter) probeSecret(ctx context.Context, path string, h *mint.Handle) (map[string]any, error) {
	rules := []vaultacl.Rule{{Path: path, Capabilities: []string{"read"}}}
	if _, err := m.asBroker(ctx, request{
		method: http.MethodPut, path: "sys/policies/acl/" + h.VaultPolicy, body: map[string]string{"policy": vaultacl.Print(rules)},
	}); err != nil {
		return nil, fmt.Errorf("writing the probe's policy: %w", err)
	}
	token, err := m.newToken(ctx, tokenFor{
		policy: h.VaultPolicy, ttl: 2 * probeLimit, name: h.VaultPolicy, meta: map[string]string{"probe": path},
	})
	if err != nil {
		return nil, fmt.Errorf("creating the probe's token: %w", err)
	}
	if token == nil || token.Auth == nil || token.Auth.ClientToken == "" {
		return nil, fmt.Errorf("creating the probe's token: %w", mint.ErrInvalid)
	}
	h.VaultAccessor = token.Auth.Accessor
	s, err := m.do(ctx, request{method: http.MethodGet, path: path, token: token.Auth.ClientToken})
	if err != nil {
		return nil, fmt.Errorf("reading the probe's secret at %q: %w", path, err)
	}
	if s == nil || s.LeaseID == "" || len(s.Data) == 0 {
		return nil, fmt.Errorf("reading the probe's secret at %q: no lease or no data: %w", path, mint.ErrInvalid)
	}
	h.VaultLeaseID = s.LeaseID
	return s.Data, nil
}

// settles runs the command until its exit code is what is waited for, or Settle is over, and
// gives the last one.
func (m *Minter) settles(ctx context.Context, command []string, path string, data map[string]any, done func(int) bool) (int, error) {
	input, err := json.Marshal(data)
	if err != nil {
		return 0, fmt.Errorf("marshalling the probe's secret: %w", mint.ErrInvalid)
	}
	limit := time.NewTimer(m.cfg.Settle)
	defer limit.Stop()
	again := time.NewTicker(tryAgain)
	defer again.Stop()
	for {
		code, err := try(ctx, command, path, input)
		if err != nil || done(code) {
			return code, err
		}
		select {
		case <-ctx.Done():
			return code, fmt.Errorf("probing %q: %w", path, ctx.Err())
		case <-limit.C:
			return code, nil
		case <-again.C:
		}
	}
}

// try runs the command once. The secret goes to its standard input alone: arguments and
// environments can be read by others on the host.
func try(ctx context.Context, command []string, path string, input []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the operator's own configuration names it
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "VALETKEY_PROBE_PATH=" + path}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), io.Discard, io.Discard
	cmd.WaitDelay = time.Second
	group(cmd)
	err := cmd.Run()
	endGroup(cmd)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("running the probe of %q: %w", path, ctx.Err())
	}
	return 0, fmt.Errorf("running the probe of %q, %s: it did not run to its end", path, strconv.Quote(command[0]))
}
