package gatewayapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/siskin-dev/siskin/pkg/internal/async"
)

const (
	// planeTimeout bounds the two reads of one question.
	planeTimeout = 2 * time.Second
	// planeFresh is how long an answer is used; planeRetry how long it takes until a read that failed is repeated.
	planeFresh = 5 * time.Minute
	planeRetry = 30 * time.Second
	// planeLimit bounds what is remembered.
	planeLimit = 1000
)

type gatewayKey struct{ namespace, name string }

// plane is what is behind a Gateway.
type plane struct {
	// controller is the name of its controller; "" if it is not known.
	controller string
	// features that its GatewayClass says it supports; none if it says nothing.
	features map[features.FeatureName]bool
	// why the controller is not known.
	why string
	// final tells that reading once more will not tell more: the class was read, or Siskin has no right to.
	final bool
	// late tells that it is being read, and that nobody waits for that.
	late bool
}

// planes remembers what is behind Gateways. It reads from the API server, and rarely: a cache would need the right to list
// GatewayClasses in the whole cluster, which a Siskin of one namespace does not have, and would wait for it for ever.
type planes struct {
	live  client.Reader
	clock clock.PassiveClock
	reads *async.Reads // nil: whoever asks waits for the answer

	mu  sync.Mutex
	all map[gatewayKey]remembered
}

type remembered struct {
	plane
	until time.Time
}

// of tells who what is behind a Gateway. What was known stays known while it cannot be read, or is being read anew.
func (p *planes) of(ctx context.Context, who types.NamespacedName, key gatewayKey) plane {
	have, ok := p.known(key)
	if ok && p.clock.Now().Before(have.until) {
		return have.plane
	}
	ended := p.reads.Read(ctx, who, "gateway/"+key.namespace+"/"+key.name, planeTimeout, func(ctx context.Context) {
		if have, ok := p.known(key); ok && p.clock.Now().Before(have.until) { // somebody else has read it just now
			return
		}
		p.look(ctx, key)
	})
	if have, ok = p.known(key); !ok && !ended {
		return plane{why: "it could not be read yet: " + async.ErrSlow.Error(), late: true}
	}
	return have.plane
}

func (p *planes) known(key gatewayKey) (remembered, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have, ok := p.all[key]
	return have, ok
}

// look reads what is behind a Gateway and remembers it.
func (p *planes) look(ctx context.Context, key gatewayKey) {
	now := p.clock.Now()
	got, err := p.read(ctx, key)
	next := remembered{plane: got, until: now.Add(planeFresh)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		log.FromContext(ctx).V(1).Info("cannot read what is behind a Gateway", "gateway", key.namespace+"/"+key.name, "error", err.Error())
		next.until = now.Add(planeRetry)
		if apierrors.IsForbidden(err) {
			next.until = now.Add(planeFresh)
		}
		if have := p.all[key]; have.controller != "" {
			next.plane = have.plane
		}
	}
	if p.all == nil || len(p.all) >= planeLimit {
		p.all = map[gatewayKey]remembered{}
	}
	p.all[key] = next
}

func (p *planes) read(ctx context.Context, key gatewayKey) (plane, error) {
	ctx, cancel := context.WithTimeout(ctx, planeTimeout)
	defer cancel()
	var gateway gatewayv1.Gateway
	if err := p.live.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.name}, &gateway); err != nil {
		return unread("it", err), fmt.Errorf("reading Gateway %s/%s: %w", key.namespace, key.name, err)
	}
	name := string(gateway.Spec.GatewayClassName)
	var class gatewayv1.GatewayClass
	if err := p.live.Get(ctx, client.ObjectKey{Name: name}, &class); err != nil {
		return unread("its GatewayClass "+name, err), fmt.Errorf("reading GatewayClass %s: %w", name, err)
	}
	out := plane{final: true, controller: string(class.Spec.ControllerName), features: make(map[features.FeatureName]bool)}
	for _, f := range class.Status.SupportedFeatures {
		out.features[features.FeatureName(f.Name)] = true
	}
	return out, nil
}

func unread(what string, err error) plane {
	switch {
	case apierrors.IsNotFound(err):
		return plane{why: what + " does not exist"}
	case apierrors.IsForbidden(err):
		return plane{why: "Siskin may not read " + what, final: true}
	}
	return plane{why: what + " could not be read"}
}
