package session

import (
	"fmt"

	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// ofAccount says whether the session's cluster takes a secret as a service account's.
func (s *Session) ofAccount(secret valetkey.Secret) bool {
	_, err := serve.ServiceAccountToken(secret)
	return err == nil && s.cfg.Kube != nil && s.cfg.Kube.EKSCluster == ""
}

// serveEKS is serveKube for the first AWS session, where the cluster takes those.
func (s *Session) serveEKS(sessions []*use) error {
	switch c := s.cfg.Kube; {
	case c == nil || s.give.Kubernetes != nil:
		return nil
	case c.EKSCluster == "":
		return fmt.Errorf("serving a kubeconfig: no scope does: %w", serve.ErrNoServiceAccount)
	case len(sessions) == 0:
		return fmt.Errorf("serving a kubeconfig: no scope does: %w", serve.ErrNoAWS)
	}
	return s.serveKube(sessions[0])
}

// serveKube opens a socket that gives the cluster's token, and writes a kubeconfig
// that asks it.
func (s *Session) serveKube(u *use) error {
	if s.give.Kubernetes != nil {
		return fmt.Errorf("KUBECONFIG names one token: %w", serve.ErrTwoOfAKind)
	}
	sock, file := s.path("kube.sock"), s.path("kubeconfig")
	if err := s.onSocket(sock, serve.Kube(u.src, *s.cfg.Kube)); err != nil {
		return err
	}
	config := files.NewKubeconfig(u.spec.Called(), s.cfg.Program, sock, *s.cfg.Kube)
	if err := (files.KubeconfigFile{File: file, Socket: sock}).Write(config, files.Self); err != nil {
		return err
	}
	s.give.Kubernetes = &environ.Kubernetes{Config: file}
	return nil
}
