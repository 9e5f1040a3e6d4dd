package tullegrpc

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/serviceconfig"
)

// configure makes the service config of tulle targets. GRPC gets it without retry
// policies, which are for our Retrier: gRPC would repeat each of its attempts.
func (c *channel) configure(s *settings) error {
	config := make(map[string]json.RawMessage)
	if s.config != "" {
		if err := json.Unmarshal([]byte(s.config), &config); err != nil {
			return fmt.Errorf("tullegrpc: ServiceConfig: %w", err)
		}
	}
	config["loadBalancingConfig"] = json.RawMessage(`[{"` + balancerName + `":{}}]`)
	if s.health != nil {
		health, err := json.Marshal(map[string]string{"serviceName": *s.health})
		if err != nil {
			return fmt.Errorf("tullegrpc: HealthCheck %q: %w", *s.health, err)
		}
		config["healthCheckConfig"] = health
	}
	whole, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("tullegrpc: ServiceConfig: %w", err)
	}
	c.serviceConfig = string(whole)
	for key, methods := range config {
		if !strings.EqualFold(key, "methodConfig") { // as gRPC reads keys
			continue
		}
		c.hasMethods = true
		if rest, found := withoutRetries(methods); found {
			config[key], c.retryConfig = rest, string(whole)
		}
	}
	if c.retryConfig == "" {
		return nil
	}
	stripped, err := json.Marshal(config)
	c.serviceConfig = string(stripped)
	return err
}

// withoutRetries takes the retry policies out of method configs, and says whether
// there were any. What cannot be read stays for gRPC to tell of.
func withoutRetries(methods json.RawMessage) (json.RawMessage, bool) {
	var list []map[string]json.RawMessage
	if json.Unmarshal(methods, &list) != nil {
		return methods, false
	}
	found := false
	for _, m := range list {
		before := len(m)
		maps.DeleteFunc(m, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, "retryPolicy") })
		found = found || len(m) < before
	}
	rest, err := json.Marshal(list)
	if err != nil || !found {
		return methods, false
	}
	return rest, true
}

// policies are the retry policies of a service config by method, as gRPC has parsed
// them: nil for a method, or a service, whose config has none.
type policies map[string]*policy

// policiesOf are those of a service config that gRPC has parsed, nil if it could not.
func policiesOf(parsed *serviceconfig.ParseResult) policies {
	if parsed == nil || parsed.Err != nil {
		return nil
	}
	//lint:ignore SA1019 it is deprecated for making one; this reads what gRPC has made
	config, ok := parsed.Config.(*grpc.ServiceConfig)
	if !ok {
		return nil
	}
	all := make(policies)
	for method, m := range config.Methods {
		all[method] = nil
		if p := m.RetryPolicy; p != nil {
			all[method] = &policy{
				attempts: p.MaxAttempts, // gRPC has bounded them: WithMaxCallAttempts
				min:      p.InitialBackoff,
				max:      p.MaxBackoff,
				growth:   p.BackoffMultiplier,
				codes:    p.RetryableStatusCodes,
			}
		}
	}
	return all
}

// of is the policy of a method: that of its own config, of its service's, or of that
// for all; nil without one.
func (p policies) of(method string) *policy {
	if own, ok := p[method]; ok {
		return own
	}
	if service, ok := p[method[:strings.LastIndex(method, "/")+1]]; ok {
		return service
	}
	return p[""]
}
