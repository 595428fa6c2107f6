package agent

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Status is what an agent says of itself. It holds no secret.
type Status struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// ConfigError is why the newest configuration is not served; empty when it is.
	ConfigError string       `json:"config_error,omitempty"`
	Tasks       []TaskStatus `json:"tasks"`
}

// TaskStatus is one task.
type TaskStatus struct {
	Name        string `json:"name"`
	Purpose     string `json:"purpose"`
	Environment string `json:"environment"`
	// ID is the broker's; empty until the task is open, and Error says why.
	ID     string        `json:"id,omitempty"`
	Error  string        `json:"error,omitempty"`
	Scopes []ScopeStatus `json:"scopes"`
}

// ScopeStatus is one scope of a task.
type ScopeStatus struct {
	Name   string              `json:"name"`
	Scope  string              `json:"scope"`
	Params map[string][]string `json:"params,omitempty"`
	// CredentialID is empty while there is none that lives.
	CredentialID string `json:"credential_id,omitempty"`
	GrantID      string `json:"grant_id,omitempty"`
	// ExpiresAt is when the credential dies; RenewAt when the next is got, if
	// somebody asks. Zero without a credential.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	RenewAt   time.Time `json:"renew_at,omitzero"`
	Renewing  bool      `json:"renewing,omitempty"`
	// Waiting is set while people have to approve; Error says who.
	Waiting *WaitingStatus `json:"waiting,omitempty"`
	// Error is why the last refresh failed; the credential goes on until it dies.
	Error string `json:"error,omitempty"`
	// OutputError is why an output is not there, or is of the credential before.
	OutputError string   `json:"output_error,omitempty"`
	Outputs     []string `json:"outputs,omitempty"`
	// Served says that the outputs have been there for a credential.
	Served bool `json:"served"`
}

// WaitingStatus is a request that waits for people.
type WaitingStatus struct {
	// GrantID is what "valetkey approve" takes.
	GrantID string `json:"grant_id"`
	// Until is when it lapses.
	Until time.Time       `json:"until"`
	Needs []valetkey.Need `json:"needs"`
}

// Status says how everything is, without asking the broker.
func (a *Agent) Status() Status {
	a.mu.Lock()
	st := Status{PID: os.Getpid(), Started: a.started}
	if a.confErr != nil {
		st.ConfigError = a.confErr.Error()
	}
	jobs := slices.Collect(maps.Values(a.jobs))
	a.mu.Unlock()
	for _, j := range jobs {
		st.Tasks = append(st.Tasks, j.status())
	}
	slices.SortFunc(st.Tasks, func(x, y TaskStatus) int { return strings.Compare(x.Name, y.Name) })
	return st
}

func (j *job) status() TaskStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := TaskStatus{Name: j.conf.Name, Purpose: j.conf.Purpose, Environment: j.conf.Environment}
	if j.task != nil {
		st.ID = j.task.ID()
	}
	if j.err != nil {
		st.Error = j.err.Error()
	}
	for _, o := range j.outlets {
		st.Scopes = append(st.Scopes, o.status())
	}
	slices.SortFunc(st.Scopes, func(x, y ScopeStatus) int { return strings.Compare(x.Name, y.Name) })
	return st
}

func (o *outlet) status() ScopeStatus {
	now := o.src.Status()
	st := ScopeStatus{
		Name: o.name(), Scope: o.conf.Scope, Params: o.conf.spec().Params, GrantID: now.GrantID, Renewing: now.Renewing, Outputs: o.addr.said(),
	}
	if g := now.Pending; g != nil {
		st.Waiting = &WaitingStatus{GrantID: g.ID(), Until: g.DecideBy(), Needs: g.Needs()}
	}
	if serve.Lives(now) {
		st.CredentialID, st.ExpiresAt, st.RenewAt = now.CredentialID, now.ExpiresAt, now.RenewAt
	}
	if now.Err != nil {
		st.Error = now.Err.Error()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	st.Served = o.served
	if o.err != nil {
		st.OutputError = o.err.Error()
	}
	return st
}

// What serve.Ask asks an agent's own socket for: its Status, and whether every scope has
// a credential that lives, and its outputs are there.
const (
	StatusPath = "/v1/status"
	HealthPath = "/v1/health"
)

// controlHandler is what the agent's own socket answers.
func (a *Agent) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+StatusPath, func(w http.ResponseWriter, _ *http.Request) { serve.Answer(w, a.Status()) })
	mux.HandleFunc("GET "+HealthPath, func(w http.ResponseWriter, _ *http.Request) {
		for _, t := range a.Status().Tasks {
			for _, s := range t.Scopes {
				if s.CredentialID == "" {
					serve.AnswerError(w, http.StatusServiceUnavailable, "task "+t.Name+", scope "+s.Name+": there is no credential: "+s.Error)
					return
				}
				if !s.Served {
					serve.AnswerError(w, http.StatusServiceUnavailable, "task "+t.Name+", scope "+s.Name+": its outputs are not there yet: "+s.OutputError)
					return
				}
			}
			if t.ID == "" {
				serve.AnswerError(w, http.StatusServiceUnavailable, "task "+t.Name+" is not open: "+t.Error)
				return
			}
		}
		serve.Answer(w, map[string]bool{"ok": true})
	})
	return mux
}

// DecodeStatus reads what an agent's socket answers to StatusPath.
func DecodeStatus(raw []byte) (Status, error) {
	var st Status
	return st, json.Unmarshal(raw, &st)
}
