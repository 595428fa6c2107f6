package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/valetkey/valetkey/broker/listen"
)

const (
	// maxTold is how many strangers are told why, at once. More are hung up on.
	maxTold = 16
	// tellTime bounds what a stranger is waited for.
	tellTime = time.Second
	// maxHeard bounds what is read of a stranger, in bytes.
	maxHeard = 64 << 10
)

// strangers are told why they are not let in, a few at once.
type strangers struct {
	log  *complaints
	told chan struct{} // a place for each one that is being told
}

func newStrangers(log *complaints) *strangers {
	return &strangers{log: log, told: make(chan struct{}, maxTold)}
}

// refuse closes a stranger's connection.
func (a *strangers) refuse(c net.Conn, why error) {
	a.log.say(c.LocalAddr().String(), c.RemoteAddr().String(), why)
	select {
	case a.told <- struct{}{}:
		go a.tell(c, why)
	default:
		_ = c.Close() // a stranger's
	}
}

// tell answers a stranger's first words, whatever they are. Nothing is left to do
// about an error.
func (a *strangers) tell(c net.Conn, why error) {
	defer func() { <-a.told }()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(tellTime))
	// Clients take no answer that is there before they have asked.
	if _, err := c.Read(make([]byte, 4<<10)); err != nil {
		return
	}
	body, err := errorBody(http.StatusForbidden, why.Error())
	if err != nil {
		return
	}
	resp := http.Response{
		StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Close: true, Header: errorHeader(),
		Body: io.NopCloser(body), ContentLength: int64(body.Len()),
	}
	_ = resp.Write(c)
	// Closed with something unread, the connection would take the answer with it.
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(c, maxHeard))
	}
}

// visitors counts connections. It is a http.Server's ConnState, which the server
// calls before it accepts another, so that more wait.
type visitors chan struct{}

func (v visitors) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		v <- struct{}{}
	case http.StateClosed, http.StateHijacked:
		<-v
	case http.StateActive, http.StateIdle:
	}
}

// complaints logs refusals, and not each of a flood.
type complaints struct {
	log   *slog.Logger
	often rate.Sometimes
}

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, often: rate.Sometimes{First: 10, Interval: time.Second}}
}

// maxQuoted bounds what is logged of a stranger's own words, in bytes.
const maxQuoted = 128

func (c *complaints) say(address, from string, why error) {
	if errors.Is(why, listen.ErrGone) {
		return // who looks whether somebody listens, and hangs up
	}
	c.often.Do(func() {
		c.log.WarnContext(context.Background(), "a local request was refused", slog.String("address", address[:min(len(address), maxQuoted)]),
			slog.String("from", from), slog.String("error", why.Error()))
	})
}
