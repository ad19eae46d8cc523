package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/notifier/notifiertest"
)

// stage is a dispatcher with its surroundings.
type stage struct {
	*notifier.Dispatcher

	good, bad *notifiertest.Fake
	reg       *prometheus.Registry
	configs   []notifier.Config

	mu     sync.Mutex
	errors []string
}

func provider(namespace, name, typ, secret string) *siskinv1.AlertProvider {
	p := &siskinv1.AlertProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       siskinv1.AlertProviderSpec{Type: typ, Address: "http://" + name},
	}
	if secret != "" {
		p.Spec.SecretRef = &siskinv1.SecretRef{Name: secret}
	}
	return p
}

func newStage(t *testing.T, change func(*notifier.DispatcherConfig), objects ...client.Object) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(siskinv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	objects = append(objects, provider("test", "good", "good", ""), provider("test", "bad", "bad", ""))
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	s := &stage{good: &notifiertest.Fake{}, bad: &notifiertest.Fake{}, reg: prometheus.NewRegistry()}
	record := func(f *notifiertest.Fake) notifier.Constructor {
		return func(cfg notifier.Config) (notifier.Notifier, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.configs = append(s.configs, cfg)
			return f, nil
		}
	}
	cfg := notifier.DispatcherConfig{
		Providers: c, Secrets: c, Registerer: s.reg,
		Registry: notifier.Registry{"good": record(s.good), "bad": record(s.bad)},
		OnError: func(canary types.NamespacedName, alert string, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.errors = append(s.errors, fmt.Sprintf("%s %s: %v", canary, alert, err))
		},
	}
	if change != nil {
		change(&cfg)
	}
	s.Dispatcher = notifier.NewDispatcher(cfg)
	return s
}

func (s *stage) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (s *stage) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errors)
}

func alert(name string) siskinv1.CanaryAlert {
	return siskinv1.CanaryAlert{Name: name, ProviderRef: siskinv1.NamespacedRef{Name: name}}
}

func message(key string) notifier.Message {
	return notifier.Message{
		Key: key, Title: key, Severity: siskinv1.SeverityWarn, Canary: types.NamespacedName{Namespace: "test", Name: "podinfo"},
	}
}

func titles(f *notifiertest.Fake) string {
	var all []string
	for _, m := range f.Sent() {
		all = append(all, m.Title)
	}
	return strings.Join(all, " ")
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (s *stage) counts(t *testing.T, want string) {
	t.Helper()
	const head = "# HELP siskin_notifications_total Notices to people by provider type and result (sent, failed, dropped, duplicate).\n" +
		"# TYPE siskin_notifications_total counter\n"
	if err := testutil.GatherAndCompare(s.reg, strings.NewReader(head+want), "siskin_notifications_total"); err != nil {
		t.Error(err)
	}
}

func TestSeverityFilters(t *testing.T) {
	info, warn, err := siskinv1.SeverityInfo, siskinv1.SeverityWarn, siskinv1.SeverityError
	for _, c := range []struct {
		filter, severity siskinv1.AlertSeverity
		want             bool
	}{
		{"", info, true},
		{"", err, true},
		{info, info, true},
		{info, warn, true},
		{info, err, true},
		{warn, info, false},
		{warn, warn, true},
		{warn, err, true},
		{err, info, false},
		{err, warn, false},
		{err, err, true},
	} {
		if got := notifier.Wants(c.filter, c.severity); got != c.want {
			t.Errorf("filter %q, severity %q: got %v", c.filter, c.severity, got)
		}
	}
}

func TestADeadPlaceDelaysNeitherSendNorOthersNorItsOwnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		alive := time.Now().Add(90 * time.Second)
		s.bad.Do = func(ctx context.Context, _ notifier.Message) error {
			if time.Now().Before(alive) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s.start(t)
		start := time.Now()
		for i := range 3 {
			s.Send([]siskinv1.CanaryAlert{alert("bad"), alert("good")}, message("m"+strconv.Itoa(i)), nil)
		}
		if time.Since(start) != 0 {
			t.Errorf("Send took %s", time.Since(start))
		}
		synctest.Wait()
		if got := titles(s.good); got != "m0 m1 m2" {
			t.Errorf("the good one got %q at once", got)
		}
		pass(4 * time.Minute)
		if got := titles(s.bad); got != "m0 m1 m2" {
			t.Errorf("the bad one got %q in the end", got)
		}
		if len(s.told()) != 0 {
			t.Errorf("told %v", s.told())
		}
	})
}

func TestAPlaceThatStaysDeadIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		down := true
		s.bad.Do = func(context.Context, notifier.Message) error {
			if down {
				return errors.New("down")
			}
			return nil
		}
		s.start(t)
		for i := range 3 {
			s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("m"+strconv.Itoa(i)), nil)
		}
		pass(6 * time.Minute)
		if got := s.told(); len(got) != 1 || got[0] != "test/podinfo bad: AlertProvider test/bad: down" {
			t.Errorf("told %q", got)
		}
		s.counts(t, "siskin_notifications_total{result=\"failed\",type=\"bad\"} 3\n")
		down = false
		s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("m0"), nil) // failed before, so no duplicate
		pass(time.Second)
		if got := titles(s.bad); got != "m0" {
			t.Errorf("sent %q", got)
		}
		down = true
		s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("m9"), nil)
		pass(6 * time.Minute)
		if got := s.told(); len(got) != 2 {
			t.Errorf("a new failure after a success was not told: %q", got)
		}
	})
}

func TestTheSameNoticeGoesOutOnceInAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.start(t)
		alerts := []siskinv1.CanaryAlert{alert("good")}
		for range 3 {
			s.Send(alerts, message("a"), nil)
			s.Send(alerts, message(""), nil)
			pass(10 * time.Minute)
		}
		if got := titles(s.good); strings.Count(got, "a") != 1 || len(s.good.Sent()) != 4 {
			t.Errorf("sent %q", got)
		}
		pass(time.Hour)
		s.Send(alerts, message("a"), nil)
		pass(time.Second)
		if got := titles(s.good); strings.Count(got, "a") != 2 {
			t.Errorf("sent %q", got)
		}
	})
}

func TestARateLimitIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		var at []time.Duration
		start := time.Now()
		s.bad.Do = func(context.Context, notifier.Message) error {
			at = append(at, time.Since(start))
			if len(at) == 1 {
				return &notifier.RateLimitedError{RetryAfter: 42 * time.Second}
			}
			return nil
		}
		s.start(t)
		s.Send([]siskinv1.CanaryAlert{alert("bad")}, message("a"), nil)
		pass(time.Minute)
		if len(at) != 2 || at[1] != 42*time.Second {
			t.Errorf("attempts at %v", at)
		}
	})
}

func TestWhatOnlyAnEditHelpsIsToldAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		alert siskinv1.CanaryAlert
		want  string
	}{
		"no provider":   {alert("absent"), "AlertProvider test/absent: rejected: it does not exist"},
		"no secret":     {alert("no-secret"), "AlertProvider test/no-secret: rejected: Secret test/x does not exist"},
		"empty secret":  {alert("empty"), `AlertProvider test/empty: rejected: Secret test/empty has neither key "address" nor "token"`},
		"unknown type":  {alert("pager"), `AlertProvider test/pager: rejected: unknown alert provider type "pager": use one of [bad good]`},
		"other address": {siskinv1.CanaryAlert{Name: "x", ProviderRef: siskinv1.NamespacedRef{Namespace: "ops", Name: "p"}}, "AlertProvider ops/p: rejected: it is in another namespace, which --no-cross-namespace-refs forbids"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, func(c *notifier.DispatcherConfig) { c.NoCrossNamespaceRefs = true },
					provider("test", "no-secret", "good", "x"), provider("test", "empty", "good", "empty"), provider("test", "pager", "pager", ""),
					&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "empty"}})
				s.start(t)
				s.Send([]siskinv1.CanaryAlert{c.alert}, message("a"), nil)
				synctest.Wait()
				if got := s.told(); len(got) != 1 || !strings.HasSuffix(got[0], c.want) {
					t.Errorf("told %q\nwant %q", got, c.want)
				}
			})
		})
	}
}

func TestTheSecretGoesBeforeTheSpecAndAChangeIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "s"},
			Data:       map[string][]byte{"address": []byte("http://secret\n"), "token": []byte("one")},
		}
		var c client.Client
		s := newStage(t, func(cfg *notifier.DispatcherConfig) {
			var ok bool
			if c, ok = cfg.Secrets.(client.Client); !ok {
				t.Fatal("no client")
			}
		}, provider("ops", "p", "good", "s"), secret)
		s.start(t)
		a := siskinv1.CanaryAlert{Name: "x", ProviderRef: siskinv1.NamespacedRef{Namespace: "ops", Name: "p"}}
		for i := range 2 {
			s.Send([]siskinv1.CanaryAlert{a}, message(strconv.Itoa(i)), nil)
			synctest.Wait()
		}
		secret.Data["token"] = []byte("two")
		if err := c.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		s.Send([]siskinv1.CanaryAlert{a}, message("3"), nil)
		synctest.Wait()
		if len(s.configs) != 2 || s.configs[0].Address != "http://secret" || s.configs[1].Token != "two" ||
			s.configs[0].Channel != "general" || s.configs[0].Username != "siskin" {
			t.Errorf("got %+v", s.configs)
		}
	})
}

func TestAnOverflowDropsTheOldestOfTheLongestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.Send([]siskinv1.CanaryAlert{alert("good")}, message("kept"), nil)
		for i := range 1100 {
			s.Send([]siskinv1.CanaryAlert{alert("bad")}, message(strconv.Itoa(i)), nil)
		}
		s.start(t)
		pass(time.Second)
		if titles(s.good) != "kept" {
			t.Error("the other provider's notice was dropped")
		}
		got := s.bad.Sent()
		if len(got) != 1023 || got[0].Title != "77" || got[len(got)-1].Title != "1099" {
			t.Errorf("%d notices, first %s", len(got), got[0].Title)
		}
		s.counts(t, "siskin_notifications_total{result=\"dropped\",type=\"\"} 77\n"+
			"siskin_notifications_total{result=\"sent\",type=\"bad\"} 1023\nsiskin_notifications_total{result=\"sent\",type=\"good\"} 1\n")
	})
}
