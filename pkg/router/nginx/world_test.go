package nginx_test

import (
	"strings"
	"testing"
	"time"

	netv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/nginx"
	"github.com/siskin-dev/siskin/pkg/router/nginx/nginxtest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const prefix = nginx.DefaultPrefix + "/"

// world is one Canary, its user's Ingress and the router.
type world struct {
	c      client.Client
	clock  *clocktesting.FakePassiveClock
	router *nginx.Router
	in     router.Intent
}

func newWorld(t *testing.T, owner *siskinv1.Canary, objects ...client.Object) *world {
	t.Helper()
	w := &world{c: routertest.NewClient(t, objects...), clock: clocktesting.NewFakePassiveClock(time.Unix(1_000, 0)), in: routertest.Intent(owner)}
	w.router = nginx.New(w.c, w.c, w.clock)
	w.in.Split = router.Split{Primary: 100}
	return w
}

// given is the usual world.
func given(t *testing.T) *world {
	t.Helper()
	return newWorld(t, nginxtest.Canary(namespace), nginxtest.UsersIngress(namespace))
}

func (w *world) apply(t *testing.T) router.Receipt {
	t.Helper()
	receipt, err := w.router.Apply(t.Context(), w.in)
	if err != nil {
		t.Fatalf("Apply(%s): %v", w.in.Split, err)
	}
	return receipt
}

func (w *world) to(t *testing.T, canary int32) {
	t.Helper()
	w.in.Split = router.Split{Primary: 100 - canary, Canary: canary}
	w.apply(t)
}

func (w *world) observe(t *testing.T) router.Observation {
	t.Helper()
	obs, err := w.router.Observe(t.Context(), w.in)
	if err != nil {
		t.Fatal(err)
	}
	return obs
}

// get reads an Ingress; nil: there is none.
func (w *world) get(t *testing.T, name string) *netv1.Ingress {
	t.Helper()
	var out netv1.Ingress
	err := w.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &out)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return &out
}

func (w *world) canary(t *testing.T) *netv1.Ingress { t.Helper(); return w.get(t, "finch-canary") }

// edit is a write of somebody.
func (w *world) edit(t *testing.T, name, who string, edit func(*netv1.Ingress)) {
	t.Helper()
	ingress := w.get(t, name)
	edit(ingress)
	if err := w.c.Update(t.Context(), ingress, client.FieldOwner(who)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) settle() { w.clock.SetTime(w.clock.Now().Add(nginx.Settle)) }

// notes are the annotations about canaries, as one line.
func notes(ingress *netv1.Ingress) string {
	var out []string
	for _, key := range []string{
		"canary", "canary-weight", "canary-weight-total", "canary-by-header", "canary-by-header-value", "canary-by-header-pattern", "canary-by-cookie",
	} {
		if v, ok := ingress.Annotations[prefix+key]; ok {
			out = append(out, key+"="+v)
		}
	}
	return strings.Join(out, " ")
}
