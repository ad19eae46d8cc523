package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// prometheusType answers built-in and inline queries.
const prometheusType = "prometheus"

// source is where a query goes and what it says, not yet rendered.
type source struct {
	owner        string // key of the provider in the Factory
	providerType string
	cfg          Config
	query        string // template; empty for a built-in one
}

// problemError is an error with what it means for a Result.
type problemError struct {
	reason  string
	invalid bool
	err     error
}

func (p *problemError) Error() string { return p.err.Error() }
func (p *problemError) Unwrap() error { return p.err }

func invalidf(reason, format string, args ...any) error {
	return &problemError{reason: reason, invalid: true, err: fmt.Errorf(format, args...)}
}

// resolve finds the query and the provider of a metric. Errors are *problemError.
func (e *Evaluator) resolve(ctx context.Context, c *siskinv1.Canary, m siskinv1.CanaryMetric) (source, error) {
	server := c.Spec.MetricsServer
	if server == "" {
		server = e.cfg.MetricsServer
	}
	var s source
	switch {
	case m.TemplateRef != nil:
		return e.resolveTemplate(ctx, c.Namespace, *m.TemplateRef)
	case m.Query != "":
		s = source{query: m.Query}
	case !IsBuiltin(m.Name):
		return source{}, invalidf(ReasonTemplateInvalid,
			"metric %q is not built in: give it a templateRef, or name it %s or %s", m.Name, RequestSuccessRate, RequestDuration)
	}
	if server == "" {
		return source{}, invalidf(ReasonTemplateInvalid,
			"no metrics server: set spec.metricsServer, or start the controller with --metrics-server")
	}
	s.owner, s.providerType, s.cfg = "server:"+server, prometheusType, Config{Address: server}
	return s, nil
}

// templateKey is where a template is that a Canary of a namespace names.
func templateKey(namespace string, ref siskinv1.NamespacedRef) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(ref.Namespace, namespace), Name: ref.Name}
}

func (e *Evaluator) resolveTemplate(ctx context.Context, namespace string, ref siskinv1.NamespacedRef) (source, error) {
	key := templateKey(namespace, ref)
	if e.cfg.NoCrossNamespaceRefs && key.Namespace != namespace {
		return source{}, invalidf(ReasonAccessDenied,
			"MetricTemplate %s is in another namespace, which --no-cross-namespace-refs forbids: copy it to %s", key, namespace)
	}
	t := &siskinv1.MetricTemplate{}
	if err := e.cfg.Templates.Get(ctx, key, t); err != nil {
		return source{}, readProblem("MetricTemplate", key, err)
	}
	p := t.Spec.Provider
	if err := e.cfg.Providers.Known(p.Type); err != nil {
		return source{}, invalidf(ReasonTemplateInvalid, "MetricTemplate %s: %w", key, err)
	}
	cfg := Config{Address: p.Address, Headers: maps.Clone(p.Headers), InsecureSkipVerify: p.InsecureSkipVerify}
	if cfg.Address == "" {
		cfg.Address = e.cfg.MetricsServer
	}
	if cfg.Address == "" {
		return source{}, invalidf(ReasonTemplateInvalid, "MetricTemplate %s has no spec.provider.address", key)
	}
	if p.SecretRef != nil {
		if err := e.credentials(ctx, types.NamespacedName{Namespace: key.Namespace, Name: p.SecretRef.Name}, &cfg); err != nil {
			return source{}, err
		}
	}
	return source{owner: "template:" + key.String(), providerType: p.Type, cfg: cfg, query: t.Spec.Query}, nil
}

func (e *Evaluator) credentials(ctx context.Context, key types.NamespacedName, cfg *Config) error {
	secret := &corev1.Secret{}
	if err := e.cfg.Secrets.Get(ctx, key, secret); err != nil {
		return readProblem("Secret", key, err)
	}
	cfg.Token = string(secret.Data["token"])
	cfg.Username, cfg.Password = string(secret.Data["username"]), string(secret.Data["password"])
	cfg.CA = secret.Data["ca.crt"]
	if cfg.Token == "" && cfg.Username == "" && len(cfg.CA) == 0 {
		return invalidf(ReasonTemplateInvalid, `Secret %s has no key "token", "username" or "ca.crt"`, key)
	}
	return nil
}

// readProblem tells what is missing from what could not be read.
func readProblem(kind string, key client.ObjectKey, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return invalidf(ReasonTemplateNotFound, "%s %s does not exist", kind, key)
	case apierrors.IsForbidden(err):
		return invalidf(ReasonAccessDenied, "Siskin may not read %s %s: check its Roles", kind, key)
	}
	return &problemError{reason: ReasonProviderUnavailable, err: fmt.Errorf("reading %s %s: %w", kind, key, err)}
}

// problemOf classifies an error of resolving, rendering or asking.
func problemOf(err error) *problemError {
	if p, ok := errors.AsType[*problemError](err); ok {
		return p
	}
	if _, ok := errors.AsType[*TemplateError](err); ok {
		return &problemError{reason: ReasonTemplateInvalid, invalid: true, err: err}
	}
	switch {
	case errors.Is(err, ErrNoData):
		return &problemError{reason: ReasonNoData, err: err}
	case errors.Is(err, ErrSeveralSeries):
		return &problemError{reason: ReasonSeveralSeries, invalid: true, err: err}
	case errors.Is(err, ErrInvalidQuery):
		return &problemError{reason: ReasonTemplateInvalid, invalid: true, err: err}
	case errors.Is(err, ErrDenied):
		return &problemError{reason: ReasonAccessDenied, err: err}
	default:
		return &problemError{reason: ReasonProviderUnavailable, err: err}
	}
}
