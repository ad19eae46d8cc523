package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// refreshPeriod is how often volumes follow their ConfigMaps, Secrets and labels, and tokens are looked at.
const refreshPeriod = 10 * time.Second

func (w *worker) volumeDir(name string) string { return filepath.Join(w.dir, "volumes", name) }

// writeVolumes makes the directories of all volumes, or brings their files up to date.
func (w *worker) writeVolumes(ctx context.Context) error {
	pod := w.pod()
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if err := os.MkdirAll(w.volumeDir(v.Name), 0o777); err != nil {
			return fmt.Errorf("making volume %s: %w", v.Name, err)
		}
		if err := w.writeVolume(ctx, v); err != nil {
			return fmt.Errorf("volume %q: %w", v.Name, err)
		}
	}
	return w.writeResolvConf()
}

func (w *worker) writeVolume(ctx context.Context, v *corev1.Volume) error {
	p := projection{w: w, dir: w.volumeDir(v.Name)}
	switch {
	case v.EmptyDir != nil, v.HostPath != nil:
		return nil
	case v.ConfigMap != nil:
		return p.configMap(ctx, v.ConfigMap.Name, v.ConfigMap.Items, isTrue(v.ConfigMap.Optional))
	case v.Secret != nil:
		return p.secret(ctx, v.Secret.SecretName, v.Secret.Items, isTrue(v.Secret.Optional))
	case v.DownwardAPI != nil:
		return p.downward(v.DownwardAPI.Items)
	case v.Projected != nil:
		var errs []error
		for _, s := range v.Projected.Sources {
			errs = append(errs, p.source(ctx, s))
		}
		return errors.Join(errs...)
	}
	return errors.New("this kind of volume is not supported without containers")
}

// projection writes the files of one volume.
type projection struct {
	w   *worker
	dir string
}

func (p projection) source(ctx context.Context, s corev1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		return p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Items, isTrue(s.ConfigMap.Optional))
	case s.Secret != nil:
		return p.secret(ctx, s.Secret.Name, s.Secret.Items, isTrue(s.Secret.Optional))
	case s.DownwardAPI != nil:
		return p.downward(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		return p.token(ctx, s.ServiceAccountToken)
	}
	return nil
}

func (p projection) configMap(ctx context.Context, name string, items []corev1.KeyToPath, optional bool) error {
	data, err := p.w.configMap(ctx, name, optional)
	if err != nil {
		return err
	}
	return p.items(data, items, optional)
}

func (p projection) secret(ctx context.Context, name string, items []corev1.KeyToPath, optional bool) error {
	data, err := p.w.secret(ctx, name, optional)
	if err != nil {
		return err
	}
	return p.items(data, items, optional)
}

func (p projection) items(data map[string]string, items []corev1.KeyToPath, optional bool) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := p.write(k, v); err != nil {
				return err
			}
		}
		return nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("references non-existent key: %s", it.Key)
		}
		if err := p.write(it.Path, v); err != nil {
			return err
		}
	}
	return nil
}

func (p projection) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, it := range items {
		if it.FieldRef == nil {
			continue
		}
		v, err := p.w.field(it.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		if err := p.write(it.Path, v); err != nil {
			return err
		}
	}
	return nil
}

// token requests a service account token, and a new one when four fifths of its life are over.
func (p projection) token(ctx context.Context, t *corev1.ServiceAccountTokenProjection) error {
	seconds := int64(3600)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	if info, err := os.Stat(filepath.Join(p.dir, t.Path)); err == nil && time.Since(info.ModTime()) < time.Duration(seconds)*time.Second*4/5 {
		return nil
	}
	pod := p.w.pod()
	var audiences []string
	if t.Audience != "" {
		audiences = []string{t.Audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	r, err := p.w.a.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, ExpirationSeconds: &seconds,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	return p.write(t.Path, r.Status.Token)
}

// write replaces a file at once, and only when it differs.
func (p projection) write(name, content string) error {
	path := filepath.Join(p.dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, []byte(content)) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the directory of %s: %w", name, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(tmp, path)
}

func (w *worker) writeResolvConf() error {
	p := projection{w: w, dir: w.dir}
	search := fmt.Sprintf("%s.svc.%s svc.%s %s", w.pod().Namespace, wire.Domain, wire.Domain, wire.Domain)
	return p.write("resolv.conf", "search "+search+"\nnameserver "+wire.DNSIP+"\noptions ndots:5\n")
}

// mounts lists what the container sees of the volumes.
func (c *container) mounts() ([]sandbox.Mount, error) {
	volumes := map[string]*corev1.Volume{}
	pod := c.w.pod()
	for i := range pod.Spec.Volumes {
		volumes[pod.Spec.Volumes[i].Name] = &pod.Spec.Volumes[i]
	}
	out := []sandbox.Mount{{From: filepath.Join(c.w.dir, "resolv.conf"), To: "/etc/resolv.conf"}}
	for _, m := range c.spec.VolumeMounts {
		v := volumes[m.Name]
		if v == nil {
			return nil, fmt.Errorf("no volume %q", m.Name)
		}
		from := c.w.volumeDir(m.Name)
		if v.HostPath != nil {
			from = v.HostPath.Path
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = m.SubPathExpr
		}
		if sub != "" {
			from = filepath.Join(from, sub)
			if _, err := os.Stat(from); err != nil && v.EmptyDir != nil {
				if err := os.MkdirAll(from, 0o777); err != nil {
					return nil, fmt.Errorf("making subPath %s: %w", sub, err)
				}
			}
		}
		readOnly := m.ReadOnly || (v.EmptyDir == nil && v.HostPath == nil)
		out = append(out, sandbox.Mount{From: from, To: m.MountPath, ReadOnly: readOnly})
	}
	return out, nil
}

// refreshVolumes keeps the files of running pods up to date.
func (a *Agent) refreshVolumes(ctx context.Context) {
	tick := time.NewTicker(refreshPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		workers := make([]*worker, 0, len(a.workers))
		for _, w := range a.workers {
			workers = append(workers, w)
		}
		a.mu.Unlock()
		for _, w := range workers {
			w.mu.Lock()
			up := w.initialized
			w.mu.Unlock()
			if up && !w.isTerminating() && len(w.pod().Spec.Volumes) > 0 {
				if err := w.writeVolumes(ctx); err != nil && ctx.Err() == nil {
					a.logf("pod %s: refreshing volumes: %v", w.pod().Name, err)
				}
			}
		}
	}
}
