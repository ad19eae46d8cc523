package target

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// The kinds of configuration.
const (
	ConfigMap = "ConfigMap"
	Secret    = "Secret"
)

// Ref is a ConfigMap or Secret that the pods read.
type Ref struct {
	// Kind is ConfigMap or Secret.
	Kind, Name string
	// Optional tells that the pods start without it, whoever refers to it.
	Optional bool
	// Where tells people who refers to it, the first that needs it.
	Where string
}

// Refs lists what the pods of a template read, each object once, in the order of the template: volumes, also projected ones, and
// the environment of containers of all three kinds. Credentials for pulling images and for mounting other storage are not read by
// the app and are left out.
func Refs(spec *corev1.PodSpec) []Ref {
	var all []Ref
	visit(spec, func(kind string, name *string, optional *bool, where string) {
		ref := Ref{kind, *name, optional != nil && *optional, where}
		for i, have := range all {
			if have.Kind != ref.Kind || have.Name != ref.Name {
				continue
			}
			if have.Optional && !ref.Optional {
				all[i] = ref
			}
			return
		}
		if ref.Name != "" {
			all = append(all, ref)
		}
	})
	return all
}

// visitor is shown one reference; it may write the name.
type visitor func(kind string, name *string, optional *bool, where string)

// visit shows each reference of a pod to f.
func visit(spec *corev1.PodSpec, f visitor) {
	for i := range spec.Volumes {
		visitVolume(&spec.Volumes[i], f)
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		visitEnv("init container "+c.Name, c.Env, c.EnvFrom, f)
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		visitEnv("container "+c.Name, c.Env, c.EnvFrom, f)
	}
	for i := range spec.EphemeralContainers {
		c := &spec.EphemeralContainers[i].EphemeralContainerCommon
		visitEnv("ephemeral container "+c.Name, c.Env, c.EnvFrom, f)
	}
}

func visitVolume(v *corev1.Volume, f visitor) {
	where := "volume " + v.Name
	switch {
	case v.ConfigMap != nil:
		f(ConfigMap, &v.ConfigMap.Name, v.ConfigMap.Optional, where)
	case v.Secret != nil:
		f(Secret, &v.Secret.SecretName, v.Secret.Optional, where)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if s.ConfigMap != nil {
				f(ConfigMap, &s.ConfigMap.Name, s.ConfigMap.Optional, where)
			}
			if s.Secret != nil {
				f(Secret, &s.Secret.Name, s.Secret.Optional, where)
			}
		}
	}
}

func visitEnv(container string, env []corev1.EnvVar, from []corev1.EnvFromSource, f visitor) {
	for i := range from {
		where := container + " (envFrom)"
		if s := from[i].ConfigMapRef; s != nil {
			f(ConfigMap, &s.Name, s.Optional, where)
		}
		if s := from[i].SecretRef; s != nil {
			f(Secret, &s.Name, s.Optional, where)
		}
	}
	for i := range env {
		if env[i].ValueFrom == nil {
			continue
		}
		where := fmt.Sprintf("%s (env %s)", container, env[i].Name)
		if s := env[i].ValueFrom.ConfigMapKeyRef; s != nil {
			f(ConfigMap, &s.Name, s.Optional, where)
		}
		if s := env[i].ValueFrom.SecretKeyRef; s != nil {
			f(Secret, &s.Name, s.Optional, where)
		}
	}
}
