package guard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/spiffepath"
)

// sessionAttribute is the one that no limit is keyed on unless the config names
// it: whoever starts sessions would else start a new budget with each.
const sessionAttribute = "session"

// Subject is the stable name that an agent's limits are kept under: its trust domain
// and the attributes that Config.RateBy names. An agent whose path no template
// names parts of is keyed by its whole ID. One that has attributes, but none of
// those named, shares a budget with all such agents of its domain: CheckRateBy
// finds the template that would make them.
func (g *Guard) Subject(a identity.Agent) string {
	attributes := a.Attributes()
	if len(attributes) == 0 {
		return a.ID().String()
	}
	// Neither a trust domain nor a segment can hold ?, & or =, so no two agents'
	// keys are one by accident, and none is another's ID.
	key := "spiffe://" + a.ID().TrustDomain().Name() + "?"
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if keyed(name, g.rateBy) {
			key += name + "=" + attributes[name] + "&"
		}
	}
	return strings.TrimSuffix(key, "&")
}

func keyed(name string, rateBy []string) bool {
	if len(rateBy) == 0 {
		return name != sessionAttribute
	}
	return slices.Contains(rateBy, name)
}

// CheckRateBy holds Config.RateBy against the path templates: every name must be
// in one, and every template that names parts must have one of them.
func CheckRateBy(rateBy, templates []string) error {
	names := map[string][]string{}
	var all []string
	for _, text := range templates {
		t, err := spiffepath.Parse(text)
		if err != nil {
			return err
		}
		names[text] = t.Attributes()
		all = append(all, names[text]...)
	}
	for _, n := range rateBy {
		if !slices.Contains(all, n) {
			return fmt.Errorf("rate_by: no path template has an attribute %q", n)
		}
	}
	for _, text := range templates {
		if n := names[text]; len(n) > 0 && !slices.ContainsFunc(n, func(n string) bool { return keyed(n, rateBy) }) {
			return fmt.Errorf("rate_by: path template %q has no attribute to key limits on, so all its agents would share one budget; name one of %s in rate_by",
				text, strings.Join(n, ", "))
		}
	}
	return nil
}
