package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxAnswer bounds what a socket is believed to answer, in bytes.
const maxAnswer = 1 << 20

// Process answers what credential_process prints. The socket that it is
// served on is its lock.
func Process(src Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, expires, err := awsOf(r.Context(), src)
		if err != nil {
			refuse(w, err)
			return
		}
		Answer(w, processAnswer{Version: 1, AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey,
			SessionToken: s.SessionToken, Expiration: stamp(expires)})
	})
}

// Ask asks a helper's socket for a path, such as "/" of a credential's, and returns
// the answer's body. An answer that is not 200 is an error with the helper's text.
func Ask(ctx context.Context, socket, path string) ([]byte, error) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w; see that the agent runs, and that the task is not over", socket, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", socket, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking %s: %s", socket, messageIn(body, resp.Status))
	}
	return body, nil
}

// messageIn is the text of an error's body, or else the status.
func messageIn(body []byte, status string) string {
	var said struct{ Message string }
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return status
	}
	return said.Message
}
