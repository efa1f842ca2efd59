package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/workflows/contract"
)

type service struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck map[string]any `yaml:"healthcheck"`
}

func setup(t *testing.T) map[string]service {
	t.Helper()
	var compose struct {
		Services map[string]service `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "compose.yaml")), &compose))
	require.NotEmpty(t, compose.Services)
	return compose.Services
}

func TestEveryDependencyCanComeTrue(t *testing.T) {
	t.Parallel()
	services := setup(t)
	for name, dependent := range services {
		for needed, dependency := range dependent.DependsOn {
			target, exists := services[needed]
			require.True(t, exists, "%s depends on %s, which does not exist", name, needed)
			switch dependency.Condition {
			case "service_healthy":
				require.NotEmpty(t, target.Healthcheck, "%s waits for %s to be healthy, which nothing checks", name, needed)
			case "service_completed_successfully":
				require.NotContains(t, needed, "postgres", "%s waits for a server to end", name)
			default:
				require.Failf(t, "unknown condition", "%s depends on %s: %q", name, needed, dependency.Condition)
			}
		}
	}
}

func TestMilepostStartsOnAMigratedDatabase(t *testing.T) {
	t.Parallel()
	services := setup(t)
	migrate, milepost := services["migrate"], services["milepost"]

	require.Equal(t, []string{"migrate"}, migrate.Command)
	require.Equal(t, []string{"serve"}, milepost.Command)
	require.Equal(t, "service_completed_successfully", milepost.DependsOn["migrate"].Condition)
	require.Equal(t, "service_healthy", migrate.DependsOn["postgres"].Condition)
	require.Equal(t, "service_completed_successfully", migrate.DependsOn["temporal-namespace"].Condition)
	require.Equal(t, milepost.Image, migrate.Image)
	for _, name := range []string{"DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"} {
		require.NotEmpty(t, milepost.Environment[name], name)
		require.Equal(t, milepost.Environment[name], migrate.Environment[name], name)
	}
}

func TestMilepostIsGivenOnlySettingsThatItReads(t *testing.T) {
	t.Parallel()
	known := settings(t)
	require.Contains(t, known, "DATABASE_URL")
	services := setup(t)
	for _, name := range []string{"migrate", "milepost"} {
		for setting := range services[name].Environment {
			temporal := strings.HasPrefix(setting, "TEMPORAL_")
			require.True(t, temporal || slices.Contains(known, setting), "%s is given %s, which nothing reads", name, setting)
		}
	}
	require.Contains(t, services["milepost"].Environment, "SMARTCAR_MANAGEMENT_TOKEN")
}

func TestEverySettingReachesMilepost(t *testing.T) {
	t.Parallel()
	given := setup(t)["milepost"].Environment
	for _, setting := range settings(t) {
		switch {
		case setting == "MILEPOST_KEYSET_FILE": // MILEPOST_KEYSET here
		case strings.HasSuffix(setting, "_URL") && strings.HasPrefix(setting, "SMARTCAR_"): // the real hosts
		default:
			require.Contains(t, given, setting)
		}
	}
}

func TestOnlyTheReceiverAndTheTemporalUIArePublishedAndOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	published := map[string][]string{}
	for name, service := range setup(t) {
		if len(service.Ports) > 0 {
			published[name] = service.Ports
		}
	}
	require.Equal(t, map[string][]string{
		"milepost":    {"127.0.0.1:8080:8080"},
		"temporal-ui": {"127.0.0.1:8233:8080"},
	}, published)
}

func TestEverySecretIsAskedForAndDocumented(t *testing.T) {
	t.Parallel()
	guide := read(t, "README.md")
	variables := regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(read(t, "compose.yaml"), -1)
	require.NotEmpty(t, variables)
	for _, variable := range variables {
		require.Contains(t, guide, "`"+variable[1]+"`")
	}
	for name, service := range setup(t) {
		for setting, value := range service.Environment {
			if strings.Contains(setting, "PASSWORD") || strings.HasSuffix(setting, "PWD") ||
				strings.HasSuffix(setting, "TOKEN") || strings.HasSuffix(setting, "KEYSET") {
				require.Regexp(t, `^\$\{[A-Z_]+:\?`, value, "%s of %s must come from .env", setting, name)
			}
		}
	}
}

func TestImagesAreShortNamesOfOneVersion(t *testing.T) {
	t.Parallel()
	for name, service := range setup(t) {
		if service.Image == "milepost" {
			continue
		}
		require.Regexp(t, `^([a-z-]+/)?[a-z-]+:[0-9][0-9.]*$`, service.Image, name)
	}
}

func TestTheImageIsBuiltWithTheGoOfTheModule(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "../go.mod"))
	require.NotNil(t, version)

	require.Contains(t, read(t, "Dockerfile"), "FROM golang:"+version[1]+" AS build\n")
}

func TestEveryFailureClassRaisesAnAlert(t *testing.T) {
	t.Parallel()
	patterns := regexp.MustCompile(`milepost_events_closed_total\{result=~"([a-z_|]+)"\}`).
		FindAllStringSubmatch(read(t, "prometheus/alerts.yaml"), -1)
	require.NotEmpty(t, patterns)
	var classes []string
	for _, class := range contract.FailureClasses() {
		classes = append(classes, string(class))
	}
	for _, pattern := range patterns {
		require.ElementsMatch(t, classes, strings.Split(pattern[1], "|"))
	}
}

// TestAnAlertOnASingleFailureSeesTheFirstOne: increase() finds nothing in a series that begins with it.
func TestAnAlertOnASingleFailureSeesTheFirstOne(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "prometheus/alerts.yaml")), &file))
	single := regexp.MustCompile(`^sum(?: by \(\w+\) )?\(increase\((\w+)(\{[^}]+\})\[(\w+)\]\)\) > 0`)
	var found []string
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			parts := single.FindStringSubmatch(rule.Expr)
			if parts == nil {
				continue
			}
			found = append(found, rule.Alert)
			metric, labels, window := regexp.QuoteMeta(parts[1]), regexp.QuoteMeta(parts[2]), parts[3]
			require.Regexp(t, `\s+or\s+sum(?: by \(\w+\) )?\(\s*`+metric+labels+`\s+unless `+metric+` offset `+window+`\s*\) > 0\s*$`,
				rule.Expr, rule.Alert)
		}
	}
	require.Subset(t, found, []string{"MilepostEventsFail", "MilepostNoticesGivenUp", "MilepostPollsNeedOperator"})
}

func TestEveryRefusalOfTheApplicationRaisesAnAlert(t *testing.T) {
	t.Parallel()
	for _, refusal := range []activities.Refusal{activities.RefusalCredentials, activities.RefusalPlan} {
		require.Contains(t, read(t, "prometheus/alerts.yaml"), fmt.Sprintf(`increase(milepost_application_refused_total{reason=%q}`, refusal))
	}
}

// settings are the environment variables that the program's configuration names.
func settings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../cmd/internal/config/*.go")
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		for _, tag := range regexp.MustCompile(`env:"([A-Z_]+)`).FindAllStringSubmatch(read(t, file), -1) {
			names = append(names, tag[1])
		}
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
