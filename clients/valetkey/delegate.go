package valetkey

import (
	"context"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/metadata"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// SpeakFor has every call that is made with the context be made for an agent, by a
// program that the broker's operator lists as a delegate: one that has
// authenticated its own users, as a Vault has. Tasks and grants then are the
// agent's, and receipts are held to name both. The broker refuses other programs
// with ErrCallerNotAllowed, and delegates that speak for nobody.
//
// A Source and a Client.Close make calls of their own, for nobody, so a delegate
// asks with Task.Request or Task.RequestCredential, and closes its tasks itself.
func SpeakFor(ctx context.Context, agent spiffeid.ID) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	md = md.Copy()
	if md == nil {
		md = metadata.MD{}
	}
	md.Set(valetkeyv1.OnBehalfOfAgent, agent.String())
	return metadata.NewOutgoingContext(ctx, md)
}

// spokenFor is the agent that SpeakFor named; empty for none.
func spokenFor(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	if named := md.Get(valetkeyv1.OnBehalfOfAgent); len(named) == 1 {
		return named[0]
	}
	return ""
}

// OpenTaskOnce opens a task under an idempotency key of the program's own, from
// NewIdempotencyKey, and leaves it open when the client is closed: for a program
// that writes the key down first, so that after a crash the same call names the
// same task, to close it. The broker remembers keys for a day.
func (c *Client) OpenTaskOnce(ctx context.Context, key string, spec TaskSpec) (*Task, error) {
	resp, _, err := call(ctx, c, "opening a task", func(ctx context.Context) (*valetkeyv1.OpenTaskResponse, error) {
		return c.Agent.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{
			IdempotencyKey: key, Purpose: spec.Purpose, Environment: spec.Environment, OnBehalfOf: spec.OnBehalfOf,
		})
	})
	if err != nil {
		return nil, err
	}
	return &Task{c: c, id: resp.GetTask().GetId(), spec: spec}, nil
}
