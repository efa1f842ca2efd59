package smartcar

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Hosts are the base URLs of Smartcar's services, without a version. A zero field means the real one.
// Source: Smartcar, "two generations of the platform".
type Hosts struct {
	// Connect serves the consent pages, https://connect.smartcar.com.
	Connect string
	// Auth issues the tokens of v2, https://auth.smartcar.com.
	Auth string
	// IAM issues the application token of v3, https://iam.smartcar.com.
	IAM string
	// API serves REST v2, https://api.smartcar.com.
	API string
	// Vehicle serves the vehicles and signals of v3, https://vehicle.api.smartcar.com.
	Vehicle string
	// Management serves the connections and subscriptions of v3, https://management.api.smartcar.com.
	Management string
}

// WithDefaults returns the hosts with the real ones in place of zero fields, and without slashes at their ends.
func (h Hosts) WithDefaults() Hosts {
	for _, host := range listHosts(&h) {
		if *host.url == "" {
			*host.url = host.real
		}
		*host.url = strings.TrimRight(*host.url, "/")
	}
	return h
}

// Validate reports every field that is neither zero nor an absolute http or https URL without user, query and
// fragment. Plain http is for loopback hosts only: the requests carry secrets and tokens.
func (h Hosts) Validate() error {
	var faults []error
	for _, host := range listHosts(&h) {
		if *host.url != "" && !isBaseURL(*host.url) {
			faults = append(faults, fmt.Errorf("smartcar: the URL of host %s must be like %s: https, or http on a loopback host; "+
				"no user, query or fragment", host.name, host.real))
		}
	}
	return errors.Join(faults...)
}

// resolve is WithDefaults after Validate.
func (h Hosts) resolve() (Hosts, error) {
	if err := h.Validate(); err != nil {
		return Hosts{}, err
	}
	return h.WithDefaults(), nil
}

type host struct {
	name, real string
	url        *string
}

// listHosts points at the fields.
func listHosts(h *Hosts) []host {
	return []host{
		{"Connect", "https://connect.smartcar.com", &h.Connect},
		{"Auth", "https://auth.smartcar.com", &h.Auth},
		{"IAM", "https://iam.smartcar.com", &h.IAM},
		{"API", "https://api.smartcar.com", &h.API},
		{"Vehicle", "https://vehicle.api.smartcar.com", &h.Vehicle},
		{"Management", "https://management.api.smartcar.com", &h.Management},
	}
}

func isBaseURL(text string) bool {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil || strings.ContainsAny(text, "?#") {
		return false
	}
	return parsed.Scheme == "https" || parsed.Scheme == "http" && isLoopback(parsed.Hostname())
}

func isLoopback(hostname string) bool {
	address := net.ParseIP(hostname)
	return strings.EqualFold(hostname, "localhost") || address != nil && address.IsLoopback()
}
