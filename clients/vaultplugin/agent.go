package vaultplugin

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// namespaceDirective stands for the id of the caller's namespace, which Vault's own
// identity templates cannot say.
const namespaceDirective = "{{identity.entity.namespace_id}}"

var (
	environmentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

	errNoEntity = errors.New("this token has no identity entity, so the plugin cannot tell which agent it is: " +
		"log in through an auth method instead of with a root or orphan token")
	// errNoAgent is a caller whose identity in Vault makes no SPIFFE ID, or has lost what
	// the template needs of it.
	errNoAgent = errors.New("this caller's identity in Vault makes no agent")
)

// agentTemplate makes an agent of a caller: the parts of a SPIFFE ID, each of which
// may hold Vault's identity templates.
type agentTemplate struct {
	domain   spiffeid.TrustDomain
	segments []string
}

// parseAgentTemplate reads "spiffe://example.org/agent/{{identity.entity.name}}/vault".
func parseAgentTemplate(text string) (agentTemplate, error) {
	var t agentTemplate
	rest, ok := strings.CutPrefix(text, "spiffe://")
	name, path, found := strings.Cut(rest, "/")
	if !ok || !found {
		return t, fmt.Errorf("%q is no template of a SPIFFE ID, such as \"spiffe://example.org/agent/{{identity.entity.name}}/vault\"", text)
	}
	var err error
	if t.domain, err = spiffeid.TrustDomainFromString(name); err != nil {
		return t, fmt.Errorf("%q: its trust domain must be written out: %w", text, err)
	}
	templated := false
	for segment := range strings.SplitSeq(path, "/") {
		has, err := framework.ValidateIdentityTemplate(segment)
		switch {
		case err != nil:
			return t, fmt.Errorf("%q: %w (a directive cannot hold a slash)", text, err)
		case !has:
			if err := spiffeid.ValidatePathSegment(segment); err != nil {
				return t, fmt.Errorf("%q: segment %q: %w", text, segment, err)
			}
		}
		templated = templated || has
		t.segments = append(t.segments, segment)
	}
	if !templated {
		// Every caller of the mount would be one agent, with one budget and no name.
		return t, fmt.Errorf("%q says nothing of the caller; put in an identity template such as {{identity.entity.name}}", text)
	}
	return t, nil
}

// agentOf says which agent the caller is. What Vault puts in must be one whole
// segment: an entity called "alice/../root" is nobody.
func (c *config) agentOf(req *logical.Request, view logical.SystemView) (spiffeid.ID, error) {
	t, err := parseAgentTemplate(c.AgentTemplate)
	if err != nil {
		return spiffeid.ID{}, err
	}
	if req.EntityID == "" {
		return spiffeid.ID{}, errNoEntity
	}
	segments := make([]string, len(t.segments))
	for i, text := range t.segments {
		if strings.Contains(text, namespaceDirective) {
			entity, err := view.EntityInfo(req.EntityID)
			if err != nil || entity == nil {
				return spiffeid.ID{}, errors.Join(errNoEntity, err)
			}
			text = strings.ReplaceAll(text, namespaceDirective, entity.NamespaceID)
		}
		if segments[i], err = framework.PopulateIdentityTemplate(text, req.EntityID, view); err != nil {
			return spiffeid.ID{}, fmt.Errorf("%w: segment %q of agent_template: %w", errNoAgent, t.segments[i], err)
		}
	}
	id, err := spiffeid.FromSegments(t.domain, segments...)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("%w: it gives no SPIFFE ID: %w", errNoAgent, err)
	}
	return id, nil
}
