// Starts the parts of the page, once its texts are there.

import * as admin from "./admin.js";
import * as asked from "./asked.js";
import * as gathering from "./gathering.js";
import * as grid from "./grid.js";
import * as improving from "./improving.js";
import * as key from "./key.js";
import * as opened from "./opened.js";
import * as photographs from "./photographs.js";
import * as texts from "./texts.js";
import * as views from "./views.js";
import * as editor from "./vocabulary_editor.js";

await texts.speak();
texts.start();
key.start();
photographs.start(asked.columnsOf);
asked.start();
grid.start();
opened.start();
gathering.start();
improving.start();
editor.start();
admin.start();
views.onShow("tag", opened.open);
views.start();
