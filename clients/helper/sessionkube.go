package helper

import (
	"fmt"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// ofAccount says whether the session's cluster takes a secret as a service account's.
func (s *Session) ofAccount(secret valetkey.Secret) bool {
	_, err := serviceAccountToken(secret)
	return err == nil && s.cfg.Kube != nil && s.cfg.Kube.EKSCluster == ""
}

// serveEKS is serveKube for the first AWS session, where the cluster takes those.
func (s *Session) serveEKS(sessions []*use) error {
	switch c := s.cfg.Kube; {
	case c == nil || s.set["KUBECONFIG"] != "":
		return nil
	case c.EKSCluster == "":
		return fmt.Errorf("serving a kubeconfig: no scope does: %w", errNoServiceAccount)
	case len(sessions) == 0:
		return fmt.Errorf("serving a kubeconfig: no scope does: %w", errNoAWS)
	}
	return s.serveKube(sessions[0])
}

// serveKube opens a socket that gives the cluster's token, and writes a kubeconfig
// that asks it.
func (s *Session) serveKube(u *use) error {
	if s.set["KUBECONFIG"] != "" {
		return fmt.Errorf("KUBECONFIG names one token: %w", ErrTwoOfAKind)
	}
	sock, file := s.path("kube.sock"), s.path("kubeconfig")
	lis, err := listenUnix(sock)
	if err != nil {
		return err
	}
	s.stop = append(s.stop, serve(lis, newPeers(nil, false), s.cfg.Log, kubeHandler(u.src, *s.cfg.Kube)).close)
	text, err := kubeconfigText(u.spec.name(), s.cfg.Program, sock, *s.cfg.Kube)
	if err != nil {
		return err
	}
	if err := writeSecret(file, text, self); err != nil {
		return err
	}
	s.set["KUBECONFIG"] = file
	return nil
}
