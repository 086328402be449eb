/** Every page of the console, in the order of the navigation, with the role that it needs. */

import type { ComponentType } from "preact";

import type { IconName } from "../components/basics";
import type { Role } from "../session";
import type { TextKey } from "../texts";
import { AuditPage } from "./audit";
import { DoorsPage } from "./doors";
import { EnrolPage } from "./enrol";
import { HealthPage } from "./health";
import { IdentifyPage } from "./identify";
import { JobsPage } from "./jobs";
import { KeysPage } from "./keys";
import { LivePage } from "./live";
import { ReceiversPage } from "./receivers";
import { SpacesPage } from "./spaces";
import { SubjectsPage } from "./subjects";
import { ThresholdsPage } from "./thresholds";
import { UnknownsPage } from "./unknowns";
import { WatchersPage } from "./watchers";

export const GROUPS = ["watch", "people", "models", "administration"] as const;

export interface PageEntry {
  readonly id: string;
  readonly title: TextKey;
  readonly icon: IconName;
  readonly role: Role | "investigate";
  readonly group: (typeof GROUPS)[number];
  readonly page: ComponentType;
}

export const PAGES: readonly PageEntry[] = [
  { id: "live", title: "live", icon: "live", role: "investigate", group: "watch", page: LivePage },
  { id: "identify", title: "identify", icon: "identify", role: "probe", group: "watch", page: IdentifyPage },
  { id: "watchers", title: "watchers", icon: "camera", role: "operator", group: "watch", page: WatchersPage },
  { id: "doors", title: "doors", icon: "doors", role: "admin", group: "watch", page: DoorsPage },
  { id: "enrol", title: "enrol", icon: "enrol", role: "operator", group: "people", page: EnrolPage },
  { id: "subjects", title: "subjects", icon: "subjects", role: "operator", group: "people", page: SubjectsPage },
  { id: "unknowns", title: "unknowns", icon: "unknowns", role: "operator", group: "people", page: UnknownsPage },
  { id: "spaces", title: "spaces", icon: "spaces", role: "admin", group: "models", page: SpacesPage },
  { id: "jobs", title: "jobs", icon: "jobs", role: "admin", group: "models", page: JobsPage },
  { id: "thresholds", title: "thresholds", icon: "thresholds", role: "admin", group: "models", page: ThresholdsPage },
  { id: "receivers", title: "receivers", icon: "receivers", role: "admin", group: "administration", page: ReceiversPage },
  { id: "audit", title: "audit", icon: "audit", role: "admin", group: "administration", page: AuditPage },
  { id: "keys", title: "keys", icon: "keys", role: "admin", group: "administration", page: KeysPage },
  { id: "health", title: "health", icon: "health", role: "probe", group: "administration", page: HealthPage },
];
