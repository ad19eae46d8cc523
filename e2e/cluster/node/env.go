package node

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// environment is the environment of the container: the cluster's, envFrom, env.
func (c *container) environment(ctx context.Context) ([]string, error) {
	pod := c.w.pod()
	env := newEnv()
	env.set("PATH", c.w.a.Path)
	env.set("HOME", "/root")
	env.set("HOSTNAME", pod.Name)
	env.set("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	env.set("KUBERNETES_SERVICE_PORT", "443")
	env.set("KUBERNETES_SERVICE_PORT_HTTPS", "443")
	for _, kv := range c.w.a.Env {
		k, v, _ := strings.Cut(kv, "=")
		env.set(k, v)
	}
	for _, from := range c.spec.EnvFrom {
		if err := c.envFrom(ctx, env, from); err != nil {
			return nil, err
		}
	}
	for i := range c.spec.Env {
		v := &c.spec.Env[i]
		if v.ValueFrom == nil {
			env.set(v.Name, env.expand(v.Value))
			continue
		}
		value, found, err := c.valueFrom(ctx, v.ValueFrom)
		if err != nil {
			return nil, err
		}
		if found {
			env.set(v.Name, value)
		}
	}
	return env.list(), nil
}

func (c *container) envFrom(ctx context.Context, env *envVars, from corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	switch {
	case from.ConfigMapRef != nil:
		data, err = c.w.configMap(ctx, from.ConfigMapRef.Name, isTrue(from.ConfigMapRef.Optional))
	case from.SecretRef != nil:
		data, err = c.w.secret(ctx, from.SecretRef.Name, isTrue(from.SecretRef.Optional))
	}
	if err != nil {
		return err
	}
	for k, v := range data {
		env.set(from.Prefix+k, v)
	}
	return nil
}

func (c *container) valueFrom(ctx context.Context, from *corev1.EnvVarSource) (string, bool, error) {
	pick := func(data map[string]string, key string, optional bool, err error) (string, bool, error) {
		if err != nil {
			return "", false, err
		}
		v, ok := data[key]
		if !ok && !optional {
			return "", false, fmt.Errorf("couldn't find key %s", key)
		}
		return v, ok, nil
	}
	switch {
	case from.FieldRef != nil:
		v, err := c.w.field(from.FieldRef.FieldPath)
		return v, true, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		data, err := c.w.configMap(ctx, r.Name, isTrue(r.Optional))
		return pick(data, r.Key, isTrue(r.Optional), err)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		data, err := c.w.secret(ctx, r.Name, isTrue(r.Optional))
		return pick(data, r.Key, isTrue(r.Optional), err)
	case from.ResourceFieldRef != nil:
		return resourceField(c.spec, from.ResourceFieldRef), true, nil
	}
	return "", false, nil
}

func resourceField(spec *corev1.Container, r *corev1.ResourceFieldSelector) string {
	kind, name, _ := strings.Cut(r.Resource, ".")
	list := spec.Resources.Limits
	if kind == "requests" {
		list = spec.Resources.Requests
	}
	q, ok := list[corev1.ResourceName(name)]
	if !ok {
		return "1"
	}
	divisor := r.Divisor.Value()
	if divisor == 0 {
		divisor = 1
	}
	return strconv.FormatInt((q.Value()+divisor-1)/divisor, 10)
}

// field reads a field of the pod by its path, as the downward API does.
func (w *worker) field(path string) (string, error) {
	pod := w.pod()
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return pod.Labels[strings.TrimSuffix(key, "']")], nil
	}
	if key, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return pod.Annotations[strings.TrimSuffix(key, "']")], nil
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return wire.NodeIP, nil
	case "status.podIP", "status.podIPs":
		return w.ip, nil
	}
	return "", fmt.Errorf("unknown field %q", path)
}

func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for k, v := range m {
		lines = append(lines, fmt.Sprintf("%s=%q", k, v))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (w *worker) configMap(ctx context.Context, name string, optional bool) (map[string]string, error) {
	cm, err := w.a.Client.CoreV1().ConfigMaps(w.pod().Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string]string, len(cm.Data)+len(cm.BinaryData))
	maps.Copy(data, cm.Data)
	for k, v := range cm.BinaryData {
		data[k] = string(v)
	}
	return data, nil
}

func (w *worker) secret(ctx context.Context, name string, optional bool) (map[string]string, error) {
	s, err := w.a.Client.CoreV1().Secrets(w.pod().Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string]string, len(s.Data))
	for k, v := range s.Data {
		data[k] = string(v)
	}
	return data, nil
}

// argv is what the container runs: command and args of the pod, with the image's program in place of its name.
func (c *container) argv(program wire.Program, env []string) []string {
	vars := newEnv()
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		vars.set(k, v)
	}
	args := append([]string{program.Path}, program.Args...)
	if command := c.spec.Command; len(command) > 0 {
		if filepath.Base(command[0]) != filepath.Base(program.Path) && filepath.Base(command[0]) != imageBase(c.spec.Image) {
			args = nil // a shell, say
		} else {
			command = command[1:]
		}
		for _, a := range command {
			args = append(args, vars.expand(a))
		}
	}
	if c.w.a.Network.Shared && program.HostFlag != "" && len(args) > 0 && args[0] == program.Path {
		args = append(args, program.HostFlag+"="+c.w.ip)
	}
	for _, a := range c.spec.Args {
		args = append(args, vars.expand(a))
	}
	return args
}

func imageBase(image string) string {
	name, _, _ := strings.Cut(filepath.Base(image), "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// envVars is an environment that keeps its order.
type envVars struct {
	names  []string
	values map[string]string
}

func newEnv() *envVars { return &envVars{values: map[string]string{}} }

func (e *envVars) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *envVars) list() []string {
	out := make([]string, 0, len(e.names))
	for _, n := range e.names {
		out = append(out, n+"="+e.values[n])
	}
	return out
}

// expand replaces $(NAME) by its value; $$(NAME) stays $(NAME); an unknown name stays as it is.
func (e *envVars) expand(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteByte('$')
				continue
			}
			if v, ok := e.values[s[i+2:i+end]]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

func isTrue(b *bool) bool { return b != nil && *b }
