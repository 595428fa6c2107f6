package files

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// What a cluster's parts look like: docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html,
// and RFC 1123's labels and names, which Kubernetes takes.
var (
	eksNames    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$`)
	regionNames = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)
	labels      = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	hostNames   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$`)
)

// KubeCluster is a cluster, and which token it takes: for an AWS session one of EKS,
// with EKSCluster and Region; without, the service_account_token that a Vault scope
// reads.
type KubeCluster struct {
	// Server is its address, which begins with https.
	Server string `yaml:"server"`
	// CertificateAuthority is a file with its CA, or CertificateAuthorityData the CA
	// itself, PEM in base64 as a kubeconfig has it; without, the system's.
	CertificateAuthority     string `yaml:"certificate_authority"`
	CertificateAuthorityData string `yaml:"certificate_authority_data"`
	// TLSServerName is the name in its certificate; empty for Server's.
	TLSServerName string `yaml:"tls_server_name"`
	// Namespace is where commands work that name none; empty for kubectl's default.
	Namespace string `yaml:"namespace"`
	// EKSCluster is its name in EKS, and Region where STS vouches for the session.
	// What a session may do there the cluster says, by its role alone: it does not
	// see the permissions of a scope.
	EKSCluster string `yaml:"eks_cluster"`
	Region     string `yaml:"region"`
}

// Check refuses what cannot be meant.
func (c KubeCluster) Check() error {
	switch u, err := url.Parse(c.Server); {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("server: %q is no address of a cluster, such as https://k8s.example.org:6443: a token goes over TLS alone", c.Server)
	case strings.ContainsFunc(c.CertificateAuthority, unicode.IsControl):
		return fmt.Errorf("certificate_authority: %q has a control character", c.CertificateAuthority)
	case c.CertificateAuthority != "" && c.CertificateAuthorityData != "":
		return errors.New("certificate_authority, certificate_authority_data: name one of them")
	case c.TLSServerName != "" && !hostNames.MatchString(c.TLSServerName):
		return fmt.Errorf("tls_server_name: %q is no name of a host", c.TLSServerName)
	case c.Namespace != "" && !labels.MatchString(c.Namespace):
		return fmt.Errorf("namespace: %q is none: a-z, 0-9 and -, up to 63", c.Namespace)
	case (c.EKSCluster == "") != (c.Region == ""):
		return errors.New("eks_cluster, region: an EKS cluster has a name and a region, and no other cluster has either")
	case c.EKSCluster != "" && !eksNames.MatchString(c.EKSCluster):
		return fmt.Errorf("eks_cluster: %q is no name of a cluster: letters, digits, - and _, up to 100", c.EKSCluster)
	case c.Region != "" && !regionNames.MatchString(c.Region):
		return fmt.Errorf("region: %q is none, such as eu-central-1", c.Region)
	}
	if c.CertificateAuthorityData == "" {
		return nil
	}
	pem, err := base64.StdEncoding.Strict().DecodeString(c.CertificateAuthorityData)
	if err != nil || strings.ContainsAny(c.CertificateAuthorityData, "\r\n") || !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return errors.New("certificate_authority_data: it is no certificate as PEM, in base64 and on one line")
	}
	return nil
}
